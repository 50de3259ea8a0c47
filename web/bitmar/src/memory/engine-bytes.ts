// What the package knows of the engine's own bytes (src/memory/state.h): where an episode's record is, to erase it.

import { crc32 } from '../store/checksum.js';

const MAGIC = 'BMEM';
const HEADER_BYTES = 60;
/** Of a record: up to its vectors, and the CRC-32 of all before it. */
const VECTORS_AT = 104;
const CRC_BYTES = 4;
const ID_AT = 16;

/** An episode's record: where it begins and ends, and whether its checksum is right. */
interface RecordPlace {
  readonly at: number;
  readonly end: number;
  readonly sound: boolean;
}

/**
 * Erases these episodes from snapshots and frames that lie anywhere in the bytes, whole or damaged: of their records only slot and id stay. All
 * other bytes stay as they are. Whether there was anything to erase.
 */
export function eraseRecords(bytes: Uint8Array, ids: readonly number[]): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wanted = new Set(ids.map(BigInt));
  let erased = false;
  for (const { at, end, sound } of recordsIn(bytes)) {
    if (!wanted.has(view.getBigUint64(at + ID_AT, true))) continue;
    bytes.fill(0, at + 4, at + ID_AT);
    bytes.fill(0, at + ID_AT + 8, end);
    if (sound) sign(view, at, end); // the frame is taken as a whole or not at all
    erased = true;
  }
  return erased;
}

/** No memory counts so far; one that went on from there would come to numbers that no import takes. */
const MOST_NEXT_ID = 2n ** 50n;
const END_OF_IDS = 2n ** 52n;

/**
 * A sound snapshot whose ids are beyond what any memory counts, with ids from 1 on in the same order; undefined for every other snapshot. `ids`
 * has the new ones.
 */
export function renumbered(snapshot: Uint8Array): { snapshot: Uint8Array; ids: ReadonlyMap<number, number> } | undefined {
  const view = new DataView(snapshot.buffer, snapshot.byteOffset, snapshot.byteLength);
  if (snapshot.length < HEADER_BYTES || !isHeader(snapshot, view, 0)) return undefined;
  const sound = view.getUint32(48, true) === 0 && view.getUint32(56, true) === crc32('', snapshot.subarray(16, 56));
  const nextId = view.getBigUint64(32, true);
  if (!sound || nextId <= MOST_NEXT_ID || nextId >= END_OF_IDS) return undefined;
  const records = [...recordsIn(snapshot)].filter(({ at }) => at >= HEADER_BYTES);
  if (records.length !== view.getUint32(52, true) || records.some(({ sound }) => !sound)) return undefined;
  const old = records.map(({ at }) => view.getBigUint64(at + ID_AT, true)).sort((a, b) => (a < b ? -1 : 1));
  if (new Set(old).size !== old.length || old.some((id) => id === 0n || id >= nextId)) return undefined;
  const ids = new Map(old.map((id, i) => [Number(id), i + 1]));
  const bytes = snapshot.slice();
  const changed = new DataView(bytes.buffer);
  for (const { at, end } of records) {
    changed.setBigUint64(at + ID_AT, BigInt(ids.get(Number(view.getBigUint64(at + ID_AT, true)))!), true);
    sign(changed, at, end);
  }
  changed.setBigUint64(32, BigInt(old.length + 1), true);
  changed.setUint32(56, crc32('', bytes.subarray(16, 56)), true);
  return { snapshot: bytes, ids };
}

function sign(view: DataView, at: number, end: number): void {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, end - CRC_BYTES - at);
  view.setUint32(end - CRC_BYTES, crc32('', bytes), true);
}

function isHeader(bytes: Uint8Array, view: DataView, at: number): boolean {
  return view.getUint32(at + 12, true) === crc32('', bytes.subarray(at, at + 12));
}

/** Those of all snapshots and frames in the bytes. */
export function* recordsIn(bytes: Uint8Array): Generator<RecordPlace> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const start of places(bytes, MAGIC)) {
    if (start + HEADER_BYTES > bytes.length || !isHeader(bytes, view, start)) continue;
    const size = VECTORS_AT + 8 * view.getUint32(start + 8, true) + CRC_BYTES;
    const first = start + HEADER_BYTES + 4 * view.getUint32(start + 48, true);
    const records = view.getUint32(start + 52, true);
    for (let i = 0, at = first; i < records && at + size <= bytes.length; i += 1, at += size) {
      const crcAt = at + size - CRC_BYTES;
      yield { at, end: at + size, sound: view.getUint32(crcAt, true) === crc32('', bytes.subarray(at, crcAt)) };
    }
  }
}

function places(bytes: Uint8Array, text: string): number[] {
  const [first, ...rest] = new TextEncoder().encode(text);
  const found: number[] = [];
  for (let at = bytes.indexOf(first!); at >= 0; at = bytes.indexOf(first!, at + 1)) if (rest.every((byte, i) => bytes[at + 1 + i] === byte)) found.push(at);
  return found;
}
