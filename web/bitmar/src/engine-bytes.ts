// What the package knows of the engine's own bytes (src/io/memory_state.h): where an episode's record is, to erase it.

import { crc32 } from './checksum.js';

const MAGIC = 'BMEM';
const HEADER_BYTES = 60;
/** Of a record: up to its vectors, and the CRC-32 of all before it. */
const VECTORS_AT = 104;
const CRC_BYTES = 4;
const ID_AT = 16;

/**
 * Erases these episodes from snapshots and frames that lie anywhere in the bytes, whole or damaged: of their records only slot and id stay. All
 * other bytes stay as they are. Whether there was anything to erase.
 */
export function eraseRecords(bytes: Uint8Array, ids: readonly number[]): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wanted = new Set(ids.map(BigInt));
  let erased = false;
  const erase = (at: number, size: number): void => {
    const crcAt = at + size - CRC_BYTES;
    const sound = view.getUint32(crcAt, true) === crc32('', bytes.subarray(at, crcAt));
    bytes.fill(0, at + 4, at + ID_AT);
    bytes.fill(0, at + ID_AT + 8, at + size);
    if (sound) view.setUint32(crcAt, crc32('', bytes.subarray(at, crcAt)), true); // the frame is taken as a whole or not at all
    erased = true;
  };
  for (const start of places(bytes, MAGIC)) {
    if (start + HEADER_BYTES > bytes.length || view.getUint32(start + 12, true) !== crc32('', bytes.subarray(start, start + 12))) continue;
    const size = VECTORS_AT + 8 * view.getUint32(start + 8, true) + CRC_BYTES;
    const first = start + HEADER_BYTES + 4 * view.getUint32(start + 48, true);
    const records = view.getUint32(start + 52, true);
    for (let i = 0, at = first; i < records && at + size <= bytes.length; i += 1, at += size) {
      if (wanted.has(view.getBigUint64(at + ID_AT, true))) erase(at, size);
    }
  }
  return erased;
}

function places(bytes: Uint8Array, text: string): number[] {
  const [first, ...rest] = new TextEncoder().encode(text);
  const found: number[] = [];
  for (let at = bytes.indexOf(first!); at >= 0; at = bytes.indexOf(first!, at + 1)) if (rest.every((byte, i) => bytes[at + 1 + i] === byte)) found.push(at);
  return found;
}
