// The files of a memory on the disk: records one after the other, each with checksums, found again behind damage.
//
// A record, little-endian:
//    0  u32 magic, u32 bytes of the header, u32 bytes of the body, u32 generation
//   16  8 bytes: checksum of the header
//   24  8 bytes: checksum of bytes 0..23
//   32  header (JSON), body (the engine's bytes, which have checksums of their own)
// A checksum is the beginning of a SHA-256. Version 1 had no checksums, no generation, and 12 bytes before its header.

import { createHash } from 'node:crypto';

import { eraseRecords, recordsIn } from '../memory/engine-bytes.js';

export const FORMAT = 2;
const MAGIC = Buffer.from('BMR2');
const MAGIC_V1 = Buffer.from('BMRM');
export const PREFIX_BYTES = 32;
const PREFIX_BYTES_V1 = 12;
const CHECKSUM_BYTES = 8;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** More than any memory has to say. */
const MOST_HEADER_BYTES = 64 << 20;
/** What looks like a record and is none: chance makes none of them, and a file full of them is not worth the time. */
const MOST_TRIED = 10_000;

/** What a record says about its body, as far as it is there and has the right shape. */
export interface RecordHeader {
  readonly format?: number | undefined;
  /** The hash of the model. */
  readonly model?: string | undefined;
  readonly sequence?: number | undefined;
  readonly cleared?: boolean | undefined;
  readonly removed?: readonly number[] | undefined;
  readonly evicted?: readonly number[] | undefined;
  readonly captions?: readonly (readonly [id: number, text: string])[] | undefined;
  readonly thumbnails?: readonly (readonly [id: number, file: string])[] | undefined;
  /** At the end of a snapshot's file: where the snapshot is, and how it begins. */
  readonly snapshot?: { readonly at: number; readonly bytes: number; readonly begins: string } | undefined;
}

export interface FoundRecord {
  readonly generation: number;
  /** Undefined where it is damaged. */
  readonly header: RecordHeader | undefined;
  readonly body: Uint8Array;
}

export interface Found {
  readonly records: readonly FoundRecord[];
  /** How many times bytes had to be passed over, or a header. */
  readonly damaged: number;
  /** Where the last whole record ends: what follows was cut off while it was written. The file's length where nothing does. */
  readonly end: number;
  /** Whether there are records without checksums. */
  readonly old: boolean;
}

export function checksum(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 2 * CHECKSUM_BYTES);
}

export function record(generation: number, header: RecordHeader, body: Uint8Array = new Uint8Array()): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(text.length, 4);
  prefix.writeUInt32LE(body.length, 8);
  prefix.writeUInt32LE(generation, 12);
  writeChecksums(prefix, 0, text);
  return Buffer.concat([prefix, text, body]);
}

/** The file of a snapshot: what it is, the captions and thumbnails, and once more what it is, for when that is damaged. */
export function snapshotFile(
  generation: number,
  header: { model: string | undefined; sequence: number },
  snapshot: Uint8Array,
  captions: ReadonlyMap<number, string>,
  thumbnails: ReadonlyMap<number, string>,
): Buffer {
  const own = { format: FORMAT, ...header };
  const first = record(generation, own, snapshot);
  const parts = [first];
  // Each in a record of its own: so damage to one is to that one alone.
  for (const caption of captions) parts.push(record(generation, { captions: [caption] }));
  for (const thumbnail of thumbnails) parts.push(record(generation, { thumbnails: [thumbnail] }));
  const begins = Buffer.from(snapshot.subarray(0, 64)).toString('base64'); // its header: without it the engine takes nothing
  parts.push(record(generation, { ...own, snapshot: { at: first.length - snapshot.length, bytes: snapshot.length, begins } }));
  return Buffer.concat(parts);
}

export function frameRecord(generation: number, header: { model: string | undefined; sequence: number }, frame: Uint8Array, change: RecordHeader): Buffer {
  return record(generation, { ...header, ...change }, frame);
}

/**
 * Erases these episodes from a file of records, whole or damaged: captions, names of thumbnails, and the engine's records. Everything else stays as it is,
 * in its place and with a right checksum where it had one. Whether there was anything to erase.
 */
export function eraseEpisodes(bytes: Buffer, ids: readonly number[]): boolean {
  let erased = eraseRecords(bytes, ids);
  const episodes = [...recordsIn(bytes)].filter(({ sound }) => sound); // a name may look like a caption
  const isEpisode = (at: number) => episodes.some((record) => at >= record.at && at < record.end);
  const sound: { at: number; headerAt: number; end: number }[] = [];
  for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) {
    const lengths = readPrefix(bytes, at);
    const headerAt = at + PREFIX_BYTES;
    const end = headerAt + (lengths?.header ?? 0);
    if (lengths && end <= bytes.length && isSound(bytes, at, bytes.subarray(headerAt, end))) sound.push({ at, headerAt, end });
  }
  for (const id of ids) {
    const begins = Buffer.from(`[${id},"`);
    for (let at = bytes.indexOf(begins); at >= 0; at = bytes.indexOf(begins, at + 1)) {
      if (isEpisode(at)) continue;
      const from = at + begins.length;
      let to = from;
      while (to < bytes.length && bytes[to] !== QUOTE) to += bytes[to] === BACKSLASH ? 2 : 1;
      bytes.fill(' ', from, Math.min(to, bytes.length));
      erased = true;
    }
  }
  for (const { at, headerAt, end } of sound) writeChecksums(bytes, at, bytes.subarray(headerAt, end));
  return erased;
}

function isSound(bytes: Buffer, at: number, header: Buffer): boolean {
  return checksum(header) === bytes.toString('hex', at + 16, at + 24);
}

function writeChecksums(bytes: Buffer, at: number, header: Buffer): void {
  bytes.write(checksum(header), at + 16, 'hex');
  bytes.write(checksum(bytes.subarray(at, at + 24)), at + 24, 'hex');
}

/** Whether a file may be one of these, by its first bytes. */
export function beginsLikeRecords(bytes: Buffer): boolean {
  return [MAGIC, MAGIC_V1].some((magic) => bytes.subarray(0, 4).equals(magic.subarray(0, bytes.length)));
}

/** All records of a file. With `cut` the first is one although the file ends within its body, of which the engine takes what there is. */
export function findRecords(bytes: Buffer, cut = false): Found {
  const records: FoundRecord[] = [];
  let damaged = 0;
  let old = false;
  let at = 0;
  while (at < bytes.length) {
    const next = readAny(bytes, at, cut && at === 0);
    if (next) {
      records.push(next);
      damaged += next.header ? 0 : 1;
      old ||= next.old;
      at = next.end;
      continue;
    }
    const further = nextRecord(bytes, at + 1);
    if (further < 0) {
      if (!isCutShort(bytes, at)) damaged += 1;
      break;
    }
    damaged += 1;
    at = further;
  }
  return { records, damaged, end: at, old };
}

type Placed = FoundRecord & { readonly end: number; readonly old: boolean };

/** Undefined where no whole record begins. */
function readAny(bytes: Buffer, at: number, cut: boolean): Placed | undefined {
  return readRecord(bytes, at, cut) ?? readRecordV1(bytes, at, cut);
}

function readRecord(bytes: Buffer, at: number, cut: boolean): Placed | undefined {
  const lengths = readPrefix(bytes, at);
  if (!lengths) return undefined;
  const headerAt = at + PREFIX_BYTES;
  const bodyAt = headerAt + lengths.header;
  const end = bodyAt + lengths.body;
  if (bodyAt > bytes.length || (end > bytes.length && !cut)) return undefined;
  const text = bytes.subarray(headerAt, bodyAt);
  const sound = isSound(bytes, at, text);
  return {
    generation: bytes.readUInt32LE(at + 12),
    header: sound ? parseHeader(text) : undefined,
    body: new Uint8Array(bytes.subarray(bodyAt, end)),
    end: Math.min(end, bytes.length),
    old: false,
  };
}

function readPrefix(bytes: Buffer, at: number): { header: number; body: number } | undefined {
  if (at + PREFIX_BYTES > bytes.length || !bytes.subarray(at, at + 4).equals(MAGIC)) return undefined;
  if (checksum(bytes.subarray(at, at + 24)) !== bytes.toString('hex', at + 24, at + 32)) return undefined;
  const header = bytes.readUInt32LE(at + 4);
  return header <= MOST_HEADER_BYTES ? { header, body: bytes.readUInt32LE(at + 8) } : undefined;
}

function readRecordV1(bytes: Buffer, at: number, cut: boolean): Placed | undefined {
  if (at + PREFIX_BYTES_V1 > bytes.length || !bytes.subarray(at, at + 4).equals(MAGIC_V1)) return undefined;
  const bodyAt = at + PREFIX_BYTES_V1 + bytes.readUInt32LE(at + 4);
  const end = bodyAt + bytes.readUInt32LE(at + 8);
  if (bodyAt > bytes.length || bodyAt - at > MOST_HEADER_BYTES || (end > bytes.length && !cut)) return undefined;
  const text = bytes.subarray(at + PREFIX_BYTES_V1, bodyAt);
  const header = parseHeader(text);
  if (!header) return undefined;
  const { generation } = JSON.parse(text.toString()) as { generation?: unknown }; // of the first of each file; a journal's others have none
  return {
    generation: Number.isSafeInteger(generation) ? (generation as number) : -1,
    header,
    body: new Uint8Array(bytes.subarray(bodyAt, end)),
    end: Math.min(end, bytes.length),
    old: true,
  };
}

/** Where the next whole record begins; -1 where none does. */
function nextRecord(bytes: Buffer, from: number): number {
  const places = [MAGIC, MAGIC_V1].map((magic) => ({ magic, at: bytes.indexOf(magic, from) }));
  for (let tried = 0; tried < MOST_TRIED; tried += 1) {
    const [next] = places.filter(({ at }) => at >= 0).sort((a, b) => a.at - b.at);
    if (!next) break;
    if (readAny(bytes, next.at, false)) return next.at;
    next.at = bytes.indexOf(next.magic, next.at + 1);
  }
  return -1;
}

/** Whether the end of the file is a beginning of a record, as a process leaves it that is killed while it writes. */
function isCutShort(bytes: Buffer, at: number): boolean {
  const rest = bytes.subarray(at, at + 4);
  if (rest.equals(MAGIC_V1.subarray(0, rest.length))) return true;
  if (!rest.equals(MAGIC.subarray(0, rest.length))) return false;
  const headerAt = at + PREFIX_BYTES;
  if (headerAt > bytes.length) return true;
  const lengths = readPrefix(bytes, at);
  if (!lengths) return false;
  const bodyAt = headerAt + lengths.header;
  return bodyAt > bytes.length || isSound(bytes, at, bytes.subarray(headerAt, bodyAt));
}

function parseHeader(text: Buffer): RecordHeader | undefined {
  let found: { [Key in keyof RecordHeader]: unknown };
  try {
    found = JSON.parse(text.toString()) as typeof found;
  } catch {
    return undefined;
  }
  if (typeof found !== 'object' || found === null) return undefined;
  const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  const ids = (value: unknown) => (Array.isArray(value) ? value.filter(isId) : []);
  const pairs = (value: unknown) => (Array.isArray(value) ? value.filter(isPair) : []);
  const isPair = (value: unknown): value is [number, string] => Array.isArray(value) && isId(value[0]) && typeof value[1] === 'string';
  const { format, model, sequence, cleared, removed, evicted, captions, thumbnails, snapshot } = found;
  return {
    format: isId(format) ? format : undefined,
    model: typeof model === 'string' ? model : undefined,
    sequence: isId(sequence) ? sequence : undefined,
    cleared: cleared === true,
    removed: ids(removed),
    evicted: ids(evicted),
    captions: pairs(captions),
    thumbnails: pairs(thumbnails),
    snapshot: isPlace(snapshot) ? snapshot : undefined,
  };
}

function isPlace(value: unknown): value is NonNullable<RecordHeader['snapshot']> {
  const { at, bytes, begins } = (value ?? {}) as { [Key in keyof NonNullable<RecordHeader['snapshot']>]: unknown };
  return Number.isSafeInteger(at) && Number.isSafeInteger(bytes) && typeof begins === 'string';
}
