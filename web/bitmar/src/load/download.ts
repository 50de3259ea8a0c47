// Downloads a set of files in parallel and reports their progress as one. What breaks off goes on from where it was, or begins again.

import { reading } from '../api/check.js';
import { aborted, BitMarError, isAborted, messageOf, reasonOf } from '../api/errors.js';
import { guarded } from '../api/events.js';
import { pause } from '../api/pause.js';
import type { Progress } from '../api/types.js';
import { platform } from '../platform/platform.js';
import { sha256Of } from './model-hash.js';

/** Without a single byte. */
export const PATIENCE_MS = 30_000;

/** Of a transfer that breaks off without having come further than the time before. */
const MOST_TRIES = 4;
const FIRST_PAUSE_MS = 250;

interface Counter {
  loaded: number;
  total: number | undefined;
}

/** A file to download. */
export interface Wanted {
  readonly address: string;
  /** Will do as well, where that one is not to be had. */
  readonly instead?: string | undefined;
  /** What it must be, in hexadecimal. */
  readonly sha256?: string | undefined;
  readonly headers?: HeadersInit | undefined;
}

export interface Downloaded {
  readonly address: string;
  readonly bytes: Uint8Array;
}

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** 0: any patience. */
  readonly timeout?: number | undefined;
  readonly fetch?: typeof fetch | undefined;
  /** Where files have a SHA-256, take them from what was kept, and keep them. */
  readonly keep?: boolean;
}

/** What may be wrong with a file. Each throws. */
export interface Checks<Name> {
  /** By the size that is announced, and by what has come. */
  size?(name: Name, bytes: number): void;
  /** By the contents. */
  contents?(name: Name, bytes: Uint8Array, address: string): void;
}

/** How the bytes of one file come. */
interface Transfer extends Omit<Wanted, 'instead'> {
  readonly signal: AbortSignal;
  readonly timeout: number;
  readonly fetch: typeof fetch | undefined;
  readonly announced: (size: number) => void;
  readonly arrived: (loaded: number, total: number | undefined) => void;
}

/** The bytes of each file, by its name. */
export async function download<Name extends string>(files: Record<Name, Wanted>, options: DownloadOptions, checks: Checks<NoInfer<Name>> = {}): Promise<Record<Name, Downloaded>> {
  const { signal, onProgress, timeout = PATIENCE_MS, keep = false } = options;
  if (isAborted(signal)) throw aborted(signal);
  const names = Object.keys(files) as Name[];
  const counters = new Map<Name, Counter>(names.map((name) => [name, { loaded: 0, total: undefined }]));

  // What `onProgress` throws, or rejects with later, ends the download.
  let fail: (error: unknown) => void;
  const failed = new Promise<never>((_, reject) => (fail = reject));
  failed.catch(() => {});

  function report(address: string): void {
    if (!onProgress) return;
    const all = [...counters.values()];
    const total = all.some((counter) => counter.total === undefined) ? undefined : sum(all.map((counter) => counter.total ?? 0));
    const progress = { file: address.replace(/[?#].*/, '').replace(/.*\//, ''), loaded: sum(all.map((counter) => counter.loaded)), total };
    guarded(() => onProgress(progress), (error) => fail(error));
  }

  // The first failure, or the caller's signal, stops every other transfer.
  const stop = new AbortController();
  const onAbort = () => stop.abort(reasonOf(signal));
  reading('signal', () => signal?.addEventListener('abort', onAbort));

  async function one(name: Name, address: string): Promise<Downloaded> {
    const counter = counters.get(name)!;
    const bytes = await obtain(keep, {
      ...files[name],
      address,
      signal: stop.signal,
      timeout,
      fetch: options.fetch,
      announced: (size) => checks.size?.(name, size),
      arrived(loaded, total) {
        checks.size?.(name, loaded);
        // What a compressed transfer unpacks to is known only at its end; one that begins again has come that far already.
        const known = total === undefined ? loaded : Math.min(loaded, total);
        Object.assign(counter, { loaded: Math.max(counter.loaded, known), total });
        report(address);
      },
    });
    checks.contents?.(name, bytes, address);
    return { address, bytes };
  }

  try {
    const all = Promise.all(
      names.map(async (name) => {
        const { address, instead } = files[name];
        try {
          return await one(name, address);
        } catch (error) {
          if (instead === undefined || stop.signal.aborted || !(error instanceof BitMarError)) throw error;
          return one(name, instead);
        }
      }),
    );
    const contents = await Promise.race([all, failed]);
    return Object.fromEntries(names.map((name, i) => [name, contents[i]])) as Record<Name, Downloaded>;
  } catch (error) {
    if (isAborted(signal)) throw aborted(signal);
    throw error;
  } finally {
    stop.abort();
    guarded(() => signal?.removeEventListener('abort', onAbort), (error) => platform().report(error));
  }
}

/** From what was kept, else from its address. A file that is not what it must be may have been an old one in the browser's own cache. */
async function obtain(keep: boolean, transfer: Transfer): Promise<Uint8Array> {
  const { sha256, address, arrived } = transfer;
  if (sha256 === undefined) return receive(transfer);
  const fits = async (bytes: Uint8Array) => [undefined, sha256].includes(await sha256Of(bytes));
  const kept = keep ? platform().keptFiles : undefined;
  // A cache that does not work, because it is full or forbidden, is done without.
  const found = await kept?.get(sha256).catch(() => undefined);
  if (found && (await fits(found))) {
    arrived(found.length, found.length);
    return found;
  }
  let bytes = await receive(transfer);
  if (!(await fits(bytes))) {
    bytes = await receive(transfer, true);
    if (!(await fits(bytes))) throw new BitMarError('invalid_model', `${address} is not the file that the model's checksums name`);
  }
  kept?.put(sha256, bytes).catch(() => kept.drop(sha256).catch(() => {}));
  return bytes;
}

/** A transfer that ended before its time, and may be tried again. */
class BrokenOff extends BitMarError {
  constructor(address: string, why: string, cause?: unknown) {
    super('network', `${address} broke off: ${why}`, { cause });
  }
}

/** What has come of a file. */
interface Part {
  chunks: Uint8Array[];
  loaded: number;
  version: string | undefined;
}

/** All of a file, however often it breaks off. */
async function receive(transfer: Transfer, anew = false): Promise<Uint8Array> {
  const part: Part = { chunks: [], loaded: 0, version: undefined };
  let furthest = 0;
  for (let tries = 1; ; tries += 1) {
    try {
      await attempt(transfer, part, anew);
      return concat(part);
    } catch (error) {
      if (part.loaded > furthest) [furthest, tries] = [part.loaded, 1];
      if (!(error instanceof BrokenOff) || tries >= MOST_TRIES) throw error;
      await pause(FIRST_PAUSE_MS * 2 ** (tries - 1), transfer.signal);
      if (transfer.signal.aborted) throw error;
    }
  }
}

async function attempt({ address, signal, timeout, fetch, headers, announced, arrived }: Transfer, part: Part, anew: boolean): Promise<void> {
  const patience = new Patience(address, timeout, signal);
  const from = part.version === undefined ? 0 : part.loaded;
  try {
    const file = await patience.await(platform().open(address, { signal: patience.signal, fetch, headers, from, version: part.version, anew })).catch((error) => {
      const again = part.loaded > 0 && error instanceof BitMarError && error.code === 'network' && !patience.ended;
      throw again ? new BrokenOff(address, error.message, error) : error;
    });
    if (file.start === 0) Object.assign(part, { chunks: [], loaded: 0 });
    part.version = file.version;
    if (file.exact) announced(file.size ?? 0);
    for await (const chunk of patiently(file.chunks, patience, address)) {
      if (signal.aborted) throw aborted(signal);
      part.chunks.push(chunk);
      part.loaded += chunk.length;
      arrived(part.loaded, file.size);
    }
    if (file.exact && part.loaded !== file.size) throw new BrokenOff(address, `${part.loaded} bytes of ${file.size} came`);
    arrived(part.loaded, part.loaded);
  } finally {
    patience.end();
  }
}

/** The chunks. Only what goes wrong with them is the network's fault, not what the caller's `onProgress` throws. */
async function* patiently(chunks: AsyncIterable<Uint8Array>, patience: Patience, address: string): AsyncGenerator<Uint8Array> {
  const arriving = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await patience.await(arriving.next());
      if (done) return;
      yield value;
    }
  } catch (error) {
    throw error instanceof BitMarError ? error : new BrokenOff(address, messageOf(error), error);
  } finally {
    arriving.return?.().catch(() => {}); // not awaited: it may hang in what never comes
  }
}

/** Ends a transfer of which nothing has come for too long, or that is not wanted any more: even one that listens to no signal. */
class Patience {
  readonly #own = new AbortController();
  readonly #outer: AbortSignal;
  readonly #late: () => BitMarError;
  readonly #ms: number;
  readonly #over: Promise<never>;
  #reject: (error: BitMarError) => void = () => {};
  readonly #stop = () => this.#end(aborted(this.#outer));
  /** It was at an end. */
  ended = false;

  /** 0 milliseconds: without an end. */
  constructor(address: string, ms: number, signal: AbortSignal) {
    this.#late = () => new BitMarError('network', `${address}: nothing has come for ${ms} ms`);
    this.#ms = ms;
    this.#outer = signal;
    this.#over = new Promise((_, reject) => (this.#reject = reject));
    this.#over.catch(() => {});
    signal.addEventListener('abort', this.#stop);
    if (signal.aborted) this.#stop();
  }

  get signal(): AbortSignal {
    return this.#own.signal;
  }

  async await<Result>(work: Promise<Result>): Promise<Result> {
    const late = () => {
      this.ended = true;
      this.#end(this.#late());
    };
    const timer = this.#ms ? setTimeout(late, this.#ms) : undefined;
    return Promise.race([work, this.#over]).finally(() => clearTimeout(timer));
  }

  end(): void {
    this.#outer.removeEventListener('abort', this.#stop);
    this.#stop();
  }

  #end(why: BitMarError): void {
    this.#reject(why);
    this.#own.abort();
  }
}

function concat({ chunks, loaded }: Part): Uint8Array {
  const all = new Uint8Array(loaded);
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
