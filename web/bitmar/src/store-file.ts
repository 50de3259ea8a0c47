// A memory in a folder of the disk, for node: `snapshot.bin`, `journal.bin` and `thumbnails/ID.TYPE`.

import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { BitMarError, messageOf } from './errors.js';
import type { Attachments, Store, StoredState, Thumbnail } from './store.js';

/** Both files consist of records: magic, bytes of the header, bytes of the body (u32, little-endian), header (JSON), body. */
const MAGIC = 0x4d52_4d42; // "BMRM"
const PREFIX_BYTES = 12;
const FORMAT = 1;

/** Of the snapshot's record, whose body is the engine's snapshot, and of the journal's first record, which has no body. */
interface FileHeader {
  format: number;
  /** A journal belongs to the snapshot of the same number; any other is a remainder of an interrupted `replace`. */
  generation: number;
  /** The number of the last change in the snapshot. */
  sequence: number;
  captions: [id: number, text: string][];
}

/** Of the journal's other records, whose bodies are frames. */
interface FrameHeader {
  sequence: number;
  cleared: boolean;
  removed: number[];
  captions: [id: number, text: string][];
}

interface FileRecord {
  header: unknown;
  body: Uint8Array;
  /** Where it ends in its file. */
  end: number;
}

/** One folder for each memory. One process at a time: to a second one it is `storage_blocked`. */
export class FileStore implements Store {
  readonly durable = true;
  readonly #folder: string;
  #lock: Server | undefined;
  #generation: number | undefined;
  #journalBytes = 0;
  #captions = new Map<number, string>();
  #thumbnails = new Map<number, string>(); // names of their files

  constructor(folder: string) {
    this.#folder = resolve(folder);
  }

  load(): Promise<StoredState> {
    return this.#guarded(async () => {
      await mkdir(this.#path('thumbnails'), { recursive: true });
      this.#lock ??= await lock(this.#folder);
      const thumbnails = await this.#listThumbnails();
      const file = await readIfThere(this.#path('snapshot.bin'));
      this.#captions.clear();
      this.#generation = undefined;
      if (!file) return { snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails };
      const snapshot = readRecord(file, 0);
      if (!snapshot) throw new BitMarError('invalid_state', `${this.#path('snapshot.bin')} is damaged, or something else`);
      const { format, generation, sequence, captions } = snapshot.header as FileHeader;
      if (format > FORMAT) throw new BitMarError('unsupported_state', `${this.#folder} was saved by a newer version`);
      this.#generation = generation;
      this.#captions = new Map(captions);

      const [first, ...rest] = records(await readIfThere(this.#path('journal.bin')));
      const own = (first?.header as FileHeader | undefined)?.generation === generation;
      const frames = own ? rest : [];
      for (const { header } of frames) this.#caption(header as FrameHeader);
      if (!own) await this.#beginJournal(generation, sequence);
      else await this.#cutJournal((frames.at(-1) ?? first)!.end);
      return {
        snapshot: snapshot.body,
        frames: frames.map(({ body }) => body),
        sequence: (frames.at(-1)?.header as FrameHeader | undefined)?.sequence ?? sequence,
        captions: new Map(this.#captions),
        thumbnails,
      };
    });
  }

  append(frame: Uint8Array, sequence: number, attachments: Attachments): Promise<boolean> {
    return this.#guarded(async () => {
      // Whoever removed the folder, or put another in its place, took away what the frame builds on.
      const size = await stat(this.#path('journal.bin')).then(({ size }) => size, () => -1);
      if (this.#generation === undefined || size < this.#journalBytes) return false;
      if (size > this.#journalBytes) await this.#cutJournal(this.#journalBytes); // an append that failed half way
      await this.#putThumbnails(attachments);
      const header: FrameHeader = {
        sequence,
        cleared: attachments.cleared,
        removed: [...attachments.removed],
        captions: [...attachments.captions],
      };
      const bytes = record(header, frame);
      const file = await open(this.#path('journal.bin'), 'a');
      try {
        await file.appendFile(bytes);
        await file.datasync();
      } finally {
        await file.close();
      }
      this.#journalBytes += bytes.length;
      this.#caption(header);
      await this.#removeThumbnails(attachments);
      return true;
    });
  }

  replace(snapshot: Uint8Array, sequence: number, attachments: Attachments): Promise<void> {
    return this.#guarded(async () => {
      await mkdir(this.#path('thumbnails'), { recursive: true });
      await this.#putThumbnails(attachments);
      const captions = new Map(this.#captions);
      applyCaptions(captions, attachments);
      const generation = (this.#generation ?? 0) + 1;
      await this.#writeWhole('snapshot.bin', record({ format: FORMAT, generation, sequence, captions: [...captions] } satisfies FileHeader, snapshot));
      this.#generation = generation;
      this.#captions = captions;
      await this.#beginJournal(generation, sequence);
      await this.#removeThumbnails(attachments);
    });
  }

  thumbnail(id: number): Promise<Thumbnail | undefined> {
    return this.#guarded(async () => {
      const name = this.#thumbnails.get(id);
      const bytes = name && (await readIfThere(this.#path(join('thumbnails', name))));
      return name && bytes ? { type: `image/${name.replace(/.*\./, '')}`, bytes } : undefined;
    });
  }

  close(): void {
    this.#lock?.close();
    this.#lock = undefined;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  async #guarded<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof BitMarError) throw error;
      const full = ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
      throw new BitMarError(full ? 'storage_full' : 'storage_unavailable', `${this.#folder}: ${messageOf(error)}`, { cause: error });
    }
  }

  #caption(change: FrameHeader): void {
    applyCaptions(this.#captions, { ...change, captions: new Map(change.captions) });
  }

  async #beginJournal(generation: number, sequence: number): Promise<void> {
    const first = record({ format: FORMAT, generation, sequence, captions: [] } satisfies FileHeader, new Uint8Array());
    await this.#writeWhole('journal.bin', first);
    this.#journalBytes = first.length;
  }

  /** What lies behind the last whole record was never acknowledged. */
  async #cutJournal(end: number): Promise<void> {
    const file = await open(this.#path('journal.bin'), 'r+');
    try {
      await file.truncate(end);
      await file.datasync();
    } finally {
      await file.close();
    }
    this.#journalBytes = end;
  }

  /** The old file or the new one, whatever happens meanwhile. */
  async #writeWhole(name: string, bytes: Uint8Array): Promise<void> {
    const part = this.#path(`${name}.part`);
    const file = await open(part, 'w');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, this.#path(name));
    if (process.platform === 'win32') return; // folders cannot be synced there
    const folder = await open(this.#folder, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async #listThumbnails(): Promise<Map<number, number>> {
    const sizes = new Map<number, number>();
    this.#thumbnails.clear();
    for (const name of await readdir(this.#path('thumbnails'))) {
      const [, id] = /^(\d+)\.[a-z]+$/.exec(name) ?? [];
      if (id === undefined) continue;
      this.#thumbnails.set(Number(id), name);
      sizes.set(Number(id), (await stat(this.#path(join('thumbnails', name)))).size);
    }
    return sizes;
  }

  async #putThumbnails({ thumbnails }: Attachments): Promise<void> {
    for (const [id, { type, bytes }] of thumbnails) {
      const name = `${id}.${/^image\/([a-z]+)$/.exec(type)?.[1] ?? 'jpeg'}`;
      const other = this.#thumbnails.get(id);
      await this.#writeWhole(join('thumbnails', name), bytes);
      this.#thumbnails.set(id, name);
      if (other && other !== name) await rm(this.#path(join('thumbnails', other)), { force: true });
    }
  }

  async #removeThumbnails({ cleared, removed, evicted, thumbnails }: Attachments): Promise<void> {
    const ids = cleared ? [...this.#thumbnails.keys()] : [...removed, ...evicted];
    for (const id of ids) {
      const name = this.#thumbnails.get(id);
      if (!name || thumbnails.has(id)) continue;
      await rm(this.#path(join('thumbnails', name)), { force: true });
      this.#thumbnails.delete(id);
    }
  }
}

function applyCaptions(all: Map<number, string>, { cleared, removed, captions }: Pick<Attachments, 'cleared' | 'removed' | 'captions'>): void {
  if (cleared) all.clear();
  for (const id of removed) all.delete(id);
  for (const [id, text] of captions) all.set(id, text);
}

function record(header: FileHeader | FrameHeader, body: Uint8Array): Uint8Array {
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32LE(MAGIC, 0);
  prefix.writeUInt32LE(text.length, 4);
  prefix.writeUInt32LE(body.length, 8);
  return Buffer.concat([prefix, text, body]);
}

/** The record that begins there; its body ends with the file where the file was cut. Undefined where no record begins. */
function readRecord(bytes: Buffer, at: number): FileRecord | undefined {
  if (at + PREFIX_BYTES > bytes.length || bytes.readUInt32LE(at) !== MAGIC) return undefined;
  const headerEnd = at + PREFIX_BYTES + bytes.readUInt32LE(at + 4);
  const end = headerEnd + bytes.readUInt32LE(at + 8);
  try {
    const header: unknown = JSON.parse(bytes.toString('utf8', at + PREFIX_BYTES, headerEnd));
    return { header, body: new Uint8Array(bytes.subarray(headerEnd, end)), end };
  } catch {
    return undefined;
  }
}

/** The whole records from the file's beginning. Whether a body is sound is for the engine to say. */
function records(bytes: Buffer | undefined): FileRecord[] {
  const found: FileRecord[] = [];
  for (let at = 0; bytes; at = found.at(-1)!.end) {
    const next = readRecord(bytes, at);
    if (!next || next.end > bytes.length) break;
    found.push(next);
  }
  return found;
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Held for as long as the process lives, however it ends: a socket that listens, and answers nobody. */
async function lock(folder: string): Promise<Server> {
  const name = `bitmar-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`;
  const path = process.platform === 'win32' ? `\\\\.\\pipe\\${name}` : join(tmpdir(), `${name}.sock`);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const server = await listen(path);
    if (server) return server;
    if (await answers(path)) break;
    await rm(path, { force: true }); // its process has died
  }
  throw new BitMarError('storage_blocked', `${folder} is in use by another process or model`);
}

function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen(path, () => resolve(server.unref()));
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(path, () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
