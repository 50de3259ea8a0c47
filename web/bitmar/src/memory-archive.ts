// The file of an exported memory: magic, length of the header (u32, little-endian), header (JSON), snapshot, thumbnails.

import { BitMarError } from './errors.js';
import type { Thumbnail } from './store.js';

const MAGIC = 'BITMARM1';
const PREFIX_BYTES = MAGIC.length + 4;
const FORMAT = 1;

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

export function writeArchive({ model, snapshot, captions, thumbnails }: Archive): Blob {
  const header: Header = {
    format: FORMAT,
    model,
    snapshotBytes: snapshot.length,
    captions: [...captions],
    thumbnails: [...thumbnails].map(([id, { type, bytes }]) => [id, type, bytes.length]),
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  const parts = [new TextEncoder().encode(MAGIC), length, text, snapshot, ...[...thumbnails.values()].map(({ bytes }) => bytes)];
  return new Blob(parts as Uint8Array<ArrayBuffer>[], { type: 'application/octet-stream' });
}

/** Whether the snapshot is sound is for the engine to say. */
export function readArchive(bytes: Uint8Array): Archive {
  const damaged = () => new BitMarError('invalid_state', 'This is not an exported memory, or it is damaged');
  if (bytes.length < PREFIX_BYTES || new TextDecoder().decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) throw damaged();
  const headerEnd = PREFIX_BYTES + new DataView(bytes.buffer, bytes.byteOffset).getUint32(MAGIC.length, true);
  const header = parseHeader(bytes.subarray(PREFIX_BYTES, headerEnd));
  if (!header || headerEnd > bytes.length) throw damaged();
  if (header.format > FORMAT) throw new BitMarError('unsupported_state', 'The memory was exported by a newer version');
  let at = headerEnd;
  const take = (length: number): Uint8Array => {
    if (!Number.isSafeInteger(length) || length < 0 || at + length > bytes.length) throw damaged();
    return bytes.slice(at, (at += length));
  };
  const snapshot = take(header.snapshotBytes);
  const thumbnails = new Map(header.thumbnails.map(([id, type, length]) => [id, { type, bytes: take(length) }]));
  return { model: header.model, snapshot, captions: new Map(header.captions), thumbnails };
}

function parseHeader(bytes: Uint8Array): Header | undefined {
  try {
    const header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Partial<Header> | null;
    const { format, model, snapshotBytes, captions, thumbnails } = header ?? {};
    const sound =
      typeof format === 'number' &&
      (model === null || typeof model === 'string') &&
      typeof snapshotBytes === 'number' &&
      isTable(captions, ['number', 'string']) &&
      isTable(thumbnails, ['number', 'string', 'number']);
    return sound ? (header as Header) : undefined;
  } catch {
    return undefined;
  }
}

function isTable(value: unknown, columns: string[]): boolean {
  const isRow = (row: unknown) => Array.isArray(row) && row.length === columns.length && columns.every((type, i) => typeof row[i] === type);
  return Array.isArray(value) && value.every(isRow);
}
