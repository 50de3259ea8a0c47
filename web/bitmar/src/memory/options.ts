// The options of a memory: checked before anything is loaded, and read once, so that what is used is what was checked.

import { checkBoolean, checkFunction, checkNumber, checkOneOf, checkWhole, isObject, isSet, unlike } from '../api/check.js';
import { LONGEST_TIMER_MS } from '../api/limits.js';
import type { MemoryOptions } from './types.js';

const AUTOSAVE_MS = 1000;
const THUMBNAIL_BYTES = 16 << 20;

export type MemorySettings = ReturnType<typeof memorySettings>;

export function memorySettings(options: MemoryOptions) {
  if (!isObject(options)) throw unlike('memory', 'an object', options);
  const { slots, shrink, policy = 'gated', persist, folder, store, earlier = 'embed', autosaveMs = AUTOSAVE_MS, thumbnailBytes = THUMBNAIL_BYTES }: MemoryOptions = options;
  if (slots !== undefined) checkWhole('memory.slots', slots, 1, 1 << 16);
  if (isSet(shrink)) checkBoolean('memory.shrink', shrink);
  checkOneOf('memory.policy', policy, ['gated', 'additive']);
  if (isSet(persist)) checkBoolean('memory.persist', persist);
  if (folder !== undefined && (typeof folder !== 'string' || folder === '')) throw unlike('memory.folder', 'a path', folder);
  if (store !== undefined) checkFunction('memory.store', store);
  checkOneOf('memory.earlier', earlier, ['embed', 'leave']);
  checkNumber('memory.autosaveMs', autosaveMs, 0, LONGEST_TIMER_MS);
  checkNumber('memory.thumbnailBytes', thumbnailBytes, 0, Number.MAX_SAFE_INTEGER);
  return { slots, shrink, policy, persist, folder, store, earlier, autosaveMs, thumbnailBytes };
}
