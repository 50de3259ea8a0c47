// What differs between a browser and node. Each entry module installs its own before anything runs.

import type { BitMarError } from '../api/errors.js';
import type { Build, RawPixels, Source } from '../api/types.js';
import type { MemoryOptions } from '../memory/types.js';
import type { Store, Thumbnail } from '../store/store.js';
import type { Picture, Reply, Request } from '../worker/protocol.js';

/** The way to a host, in a worker or in this thread. */
export interface Port {
  post(request: Request, transfer: readonly ArrayBuffer[] | readonly ImageBitmap[]): void;
  close(): void;
  /** While calls are pending, node's process stays alive. */
  keepAlive(pending: boolean): void;
  /** For the host to hold: see StartRequest. */
  readonly lifeline?: string | undefined;
  /** It does, from now on. */
  holdsLifeline?(): void;
}

export interface PortEvents {
  reply(reply: Reply): void;
  /** The worker is gone; nothing will ever be answered again. */
  failed(error: BitMarError): void;
}

/** How a file is asked for. */
export interface FileRequest {
  readonly signal: AbortSignal;
  /** The caller's own in place of the platform's. */
  readonly fetch?: typeof fetch | undefined;
  readonly headers?: HeadersInit | undefined;
  /** So many bytes are here already, of this version of it: the rest will do. */
  readonly from?: number;
  readonly version?: string | undefined;
  /** Not from the browser's own cache. */
  readonly anew?: boolean;
}

/** A file that has begun to arrive. */
export interface OpenFile {
  /** Where it goes on from: 0, or as was asked for. */
  readonly start: number;
  /** Names what it is now; undefined where a part of it cannot be asked for. */
  readonly version?: string | undefined;
  /** Its size, where that is known beforehand. */
  readonly size: number | undefined;
  /** Whether exactly `size` bytes must come: not so for a compressed transfer. */
  readonly exact: boolean;
  readonly chunks: AsyncIterable<Uint8Array>;
}

export interface KeptFiles {
  get(sha256: string): Promise<Uint8Array | undefined>;
  put(sha256: string, bytes: Uint8Array): Promise<void>;
  drop(sha256: string): Promise<void>;
}

export interface Platform {
  /** An absolute address for a file of a folder. */
  locate(folder: string | URL, file: string): string;
  /** An absolute address of a file. */
  resolve(file: string | URL): string;
  open(address: string, request: FileRequest): Promise<OpenFile>;
  /** Where files stay between visits, by their SHA-256; undefined where nothing does, or they are on the disk anyway. */
  readonly keptFiles: KeptFiles | undefined;
  /** How many threads can share memory here; 0 where none can. */
  threads(): number;
  /** Whether a worker can be started here. */
  readonly hasWorkers: boolean;
  /** Whether a worker that does not start may be done without: see `LoadOptions.worker`. */
  readonly mayLackWorker: boolean;
  /** The package's own .wasm. */
  wasmAddress(build: Build): string;
  /** `url`: the caller's own worker. */
  startWorker(events: PortEvents, build: Build, url: string | URL | undefined): Port;
  /** Catches the source as it is at this moment; the caller may change or close it afterwards. */
  capture(source: Source, signal?: AbortSignal): Picture | Promise<Picture>;
  /** Decodes what `capture` caught as a file; undefined where it decodes files itself. */
  readonly decodePhoto: ((file: Uint8Array) => Promise<RawPixels>) | undefined;
  /** Catches a small version too, to be encoded when it is needed. Undefined where pictures cannot be drawn. */
  miniature(picture: Picture): (() => Promise<Thumbnail>) | undefined;
  /** How memories are kept when the caller names no store; undefined where they are not. */
  defaultStore(options: MemoryOptions): ((model: string) => Promise<Store>) | undefined;
  /** Whether other tabs may write the same memory. */
  readonly hasTabs: boolean;
  /** Makes known what a listener of the caller's has thrown, when there is no call that it could end. Never throws itself. */
  report(error: unknown): void;
  /** Calls back whenever the page may be about to go. Returns what ends that. */
  onLeave(callback: () => void): () => void;
}

let current: Platform | undefined;

export function usePlatform(platform: Platform): void {
  current = platform;
}

export function platform(): Platform {
  if (!current) throw new Error('Import "bitmar", not one of its inner modules');
  return current;
}
