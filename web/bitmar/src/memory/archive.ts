// The file of an exported memory: magic, length of the header (u32, little-endian), header (JSON), snapshot, thumbnails, and the SHA-256
// of all that. Format 1 had no SHA-256, and pages of an insecure context, which cannot compute one, still write it.

import { reading } from '../api/check.js';
import { BitMarError, messageOf, unlessAborted } from '../api/errors.js';
import type { Thumbnail } from '../store/store.js';

const MAGIC = 'BITMARM1';
const PREFIX_BYTES = MAGIC.length + 4;
const FORMAT = 2;
const FORMAT_WITHOUT_CHECKSUM = 1;
const CHECKSUM_BYTES = 32;
/** Of JSON: far more than 65,536 captions. */
const MOST_HEADER_BYTES = 64 << 20;
const MOST_CAPTION_LENGTH = 1 << 16;

/** A whole memory. */
export interface Archive {
  /** The hash of the model that it belongs to; null where that is not known. */
  model: string | null;
  snapshot: Uint8Array;
  captions: ReadonlyMap<number, string>;
  thumbnails: ReadonlyMap<number, Thumbnail>;
}

interface Header {
  format: number;
  model: string | null;
  snapshotBytes: number;
  captions: [id: number, text: string][];
  thumbnails: [id: number, type: string, bytes: number][];
}

export async function writeArchive({ model, snapshot, captions, thumbnails }: Archive): Promise<Blob> {
  const header: Header = {
    format: globalThis.crypto?.subtle ? FORMAT : FORMAT_WITHOUT_CHECKSUM,
    model,
    snapshotBytes: snapshot.length,
    captions: [...captions],
    thumbnails: [...thumbnails].map(([id, { type, bytes }]) => [id, type, bytes.length]),
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  const parts = [new TextEncoder().encode(MAGIC), length, text, snapshot, ...[...thumbnails.values()].map(({ bytes }) => bytes)];
  const body = new Blob(parts as Uint8Array<ArrayBuffer>[]);
  const ends = header.format === FORMAT ? [await sha256(await body.arrayBuffer())] : [];
  return new Blob([body, ...ends], { type: 'application/octet-stream' });
}

/**
 * Everything about the file is right, or it is refused, and then only its beginning was read where that says enough. Whether the snapshot is
 * sound is for the engine to say.
 */
export async function readArchive(file: Blob, signal: AbortSignal | undefined): Promise<Archive> {
  const { size } = reading('What is imported', () => ({ size: file.size }));
  const read = async (from: number, to: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(await unlessAborted(readable(() => file.slice(from, to).arrayBuffer()), signal));
    if (bytes.length !== to - from) throw damaged();
    return bytes;
  };
  if (!(size >= PREFIX_BYTES)) throw damaged();
  const begins = await read(0, PREFIX_BYTES);
  const headerBytes = new DataView(begins.buffer).getUint32(MAGIC.length, true);
  const headerEnd = PREFIX_BYTES + headerBytes;
  if (new TextDecoder().decode(begins.subarray(0, MAGIC.length)) !== MAGIC || headerBytes > MOST_HEADER_BYTES || headerEnd > size) throw damaged();
  const header = parseHeader(await read(PREFIX_BYTES, headerEnd));
  if (!header) throw damaged();
  if (header.format > FORMAT) throw new BitMarError('unsupported_state', 'The memory was exported by a newer version');
  const checksumBytes = header.format === FORMAT ? CHECKSUM_BYTES : 0;
  const end = header.thumbnails.reduce((sum, [, , length]) => sum + length, headerEnd + header.snapshotBytes);
  if (end + checksumBytes !== size) throw damaged();

  const bytes = await read(0, size);
  if (checksumBytes && globalThis.crypto?.subtle) {
    const own = await sha256(bytes.slice(0, end).buffer);
    if (own.some((byte, i) => byte !== bytes[end + i])) throw damaged();
  }
  let at = headerEnd;
  const take = (length: number) => bytes.slice(at, (at += length));
  const snapshot = take(header.snapshotBytes);
  const thumbnails = new Map(header.thumbnails.map(([id, type, length]) => [id, { type, bytes: take(length) }]));
  return { model: header.model, snapshot, captions: new Map(header.captions), thumbnails };
}

function damaged(): BitMarError {
  return new BitMarError('invalid_state', 'This is not an exported memory, or it is damaged');
}

async function readable(read: () => Promise<ArrayBuffer>): Promise<ArrayBuffer> {
  try {
    return await read();
  } catch (cause) {
    throw new BitMarError('invalid_state', `The file can no longer be read: ${messageOf(cause)}`, { cause });
  }
}

async function sha256(bytes: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

function parseHeader(bytes: Uint8Array): Header | undefined {
  let header: { [Key in keyof Header]: unknown };
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as typeof header;
  } catch {
    return undefined;
  }
  const { format, model, snapshotBytes, captions, thumbnails } = header ?? {};
  const sound =
    isCount(format) &&
    format > 0 &&
    (model === null || typeof model === 'string') &&
    isCount(snapshotBytes) &&
    isTable(captions, [isId, isCaption]) &&
    isTable(thumbnails, [isId, isType, isCount]);
  return sound ? (header as Header) : undefined;
}

/** Rows of these columns, no two of which begin alike. */
function isTable(value: unknown, columns: ((value: unknown) => boolean)[]): boolean {
  const isRow = (row: unknown) => Array.isArray(row) && row.length === columns.length && columns.every((fits, i) => fits(row[i]));
  return Array.isArray(value) && value.every(isRow) && new Set(value.map((row: unknown[]) => row[0])).size === value.length;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isId(value: unknown): boolean {
  return isCount(value) && value > 0;
}

/** Half a surrogate pair is no text: another program would read another one. */
function isCaption(value: unknown): boolean {
  return typeof value === 'string' && value.length <= MOST_CAPTION_LENGTH && !/\p{Surrogate}/u.test(value);
}

function isType(value: unknown): boolean {
  return typeof value === 'string' && /^(image\/[a-z0-9.+-]{1,32})?$/.test(value);
}
