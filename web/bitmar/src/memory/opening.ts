// What a keeper is made with, as the options say.

import { BitMarError } from '../api/errors.js';
import { platform } from '../platform/platform.js';
import { checkedStore } from '../store/checks.js';
import type { Store } from '../store/store.js';
import { canChooseWriter, NO_LOCKS } from '../store/writer.js';
import type { KeeperOptions } from './keeper.js';
import type { MemorySettings } from './options.js';

/** `model`: the hash of the model's files; undefined where the platform cannot tell. */
export function keeperOptions(settings: MemorySettings, model: string | undefined): Omit<KeeperOptions, 'host' | 'onStatus' | 'onLoad'> {
  const { slots, shrink, earlier, autosaveMs, thumbnailBytes } = settings;
  return {
    slots,
    shrink: shrink ?? false,
    see: earlier === 'embed' ? async ({ type, bytes }) => platform().capture(new Blob([bytes as Uint8Array<ArrayBuffer>], { type })) : undefined,
    openStore: storeOpener(settings, model),
    hasTabs: platform().hasTabs,
    autosaveMs,
    thumbnailBytes,
  };
}

/** Undefined where nothing is to be kept. What it throws is why nothing can be. */
function storeOpener({ persist, folder, store }: MemorySettings, model: string | undefined): (() => Promise<Store>) | undefined {
  if (persist === false) return undefined;
  const open = store ? async (hash: string) => checkedStore(await store(hash)) : platform().defaultStore({ folder });
  if (!open) return undefined;
  return async () => {
    if (model === undefined || (!store && platform().hasTabs && !canChooseWriter())) throw new BitMarError('storage_unavailable', NO_LOCKS);
    return open(model);
  };
}
