// Downloads a set of files in parallel and reports their progress as one.

import { reading } from './check.js';
import { aborted, BitMarError, isAborted, messageOf, reasonOf } from './errors.js';
import { guarded } from './events.js';
import { platform } from './platform.js';
import type { OpenFile } from './platform.js';
import type { Progress } from './types.js';

interface Counter {
  loaded: number;
  total: number | undefined;
}

/**
 * The bytes of each file, by its name. `files` gives the address of each name. `check` throws where a file is too large: it is called
 * with the size that is announced, and with what has come.
 */
export async function download<Name extends string>(
  files: Record<Name, string>,
  options: { signal?: AbortSignal | undefined; onProgress?: ((progress: Progress) => void) | undefined },
  check: (name: Name, bytes: number) => void = () => {},
): Promise<Record<Name, Uint8Array>> {
  const { signal, onProgress } = options;
  if (isAborted(signal)) throw aborted(signal);
  const names = Object.keys(files) as Name[];
  const counters = new Map<Name, Counter>(names.map((name) => [name, { loaded: 0, total: undefined }]));

  function report(name: Name): void {
    if (!onProgress) return;
    const all = [...counters.values()];
    const total = all.some((counter) => counter.total === undefined) ? undefined : sum(all.map((counter) => counter.total ?? 0));
    onProgress({ file: files[name].replace(/[?#].*/, '').replace(/.*\//, ''), loaded: sum(all.map((counter) => counter.loaded)), total });
  }

  // The first failure, or the caller's signal, stops every other transfer.
  const stop = new AbortController();
  const onAbort = () => stop.abort(reasonOf(signal));
  reading('signal', () => signal?.addEventListener('abort', onAbort));
  try {
    const contents = await Promise.all(
      names.map(async (name) => {
        const counter = counters.get(name)!;
        const file = await platform().open(files[name], stop.signal);
        counter.total = file.size;
        if (file.exact) check(name, file.size ?? 0);
        return receive(file, files[name], stop.signal, (loaded, total) => {
          check(name, loaded);
          // What a compressed transfer unpacks to is known only at its end.
          Object.assign(counter, { loaded: total === undefined ? loaded : Math.min(loaded, total), total });
          report(name);
        });
      }),
    );
    return Object.fromEntries(names.map((name, i) => [name, contents[i]])) as Record<Name, Uint8Array>;
  } catch (error) {
    if (isAborted(signal)) throw aborted(signal);
    throw error;
  } finally {
    stop.abort();
    guarded(() => signal?.removeEventListener('abort', onAbort), (error) => platform().report(error));
  }
}

async function receive(
  file: OpenFile,
  address: string,
  signal: AbortSignal,
  onBytes: (loaded: number, total: number | undefined) => void,
): Promise<Uint8Array> {
  const { size, exact } = file;
  const chunks: Uint8Array[] = [];
  let loaded = 0;
  for await (const chunk of arriving(file, address)) {
    if (signal.aborted) throw aborted(signal);
    chunks.push(chunk);
    loaded += chunk.length;
    onBytes(loaded, size);
  }
  if (exact && loaded !== size) throw new BitMarError('network', `${address}: ${loaded} bytes of ${size} came`);
  onBytes(loaded, loaded);
  return concat(chunks, loaded);
}

/** The file's chunks. Only what goes wrong with them is the network's fault, not what the caller's `onProgress` throws. */
async function* arriving({ chunks }: OpenFile, address: string): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    throw error instanceof BitMarError ? error : new BitMarError('network', `${address} broke off: ${messageOf(error)}`, { cause: error });
  }
}

function concat(chunks: Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
