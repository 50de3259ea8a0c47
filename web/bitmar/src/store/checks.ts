// What a store is that may be the caller's: checked before anything is done with it.

import { checkFunction, isA, isObject, unlike } from '../api/check.js';
import { BitMarError, messageOf } from '../api/errors.js';
import type { EarlierStore, Store, StoredState } from './store.js';

/** What a function of the caller's has returned. */
export function checkedStore(store: unknown): Store {
  const needed = ['load', 'append', 'replace', 'thumbnail', 'close'];
  if (!isObject(store)) throw unlike('What memory.store returns', 'a store', store);
  for (const name of needed) checkFunction(`${name} of the store that memory.store returns`, store[name]);
  return store as unknown as Store;
}

/** What it has loaded. */
export function checkedState(state: unknown): StoredState {
  if (!isObject(state)) throw misshapen('load() of the store', 'no object');
  const { snapshot, frames, sequence, captions, thumbnails, damaged = 0, rewrite = false } = state;
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const fits = {
    snapshot: snapshot === null || isA(snapshot, 'Uint8Array'),
    frames: Array.isArray(frames) && frames.every((frame) => isA(frame, 'Uint8Array')),
    sequence: sequence === undefined || isCount(sequence), // without it the next save is of everything
    captions: isA(captions, 'Map') && [...(captions as Map<unknown, unknown>)].every(([id, text]) => isCount(id) && typeof text === 'string'),
    thumbnails: isA(thumbnails, 'Map') && [...(thumbnails as Map<unknown, unknown>)].every(([id, bytes]) => isCount(id) && isCount(bytes)),
    damaged: isCount(damaged),
    rewrite: typeof rewrite === 'boolean',
  };
  for (const [name, right] of Object.entries(fits)) if (!right) throw misshapen('load() of the store', `wrong ${name}`);
  return state as unknown as StoredState;
}

/** As `checkedState`. */
export function checkedEarlier(found: unknown): readonly EarlierStore[] {
  const isEarlier = (each: unknown) =>
    isObject(each) && typeof each.model === 'string' && Number.isFinite(each.savedMs) && ['load', 'thumbnail', 'delete'].every((name) => typeof each[name] === 'function');
  if (!Array.isArray(found) || !found.every(isEarlier)) throw misshapen('earlier() of the store', 'no list of stores');
  return found as EarlierStore[];
}

function misshapen(what: string, found: string): BitMarError {
  return new BitMarError('storage_unavailable', `${what} gave ${found}`);
}

/** Whatever a store has thrown. */
export function storageFailure(error: unknown): BitMarError {
  return error instanceof BitMarError ? error : new BitMarError('storage_unavailable', messageOf(error), { cause: error });
}
