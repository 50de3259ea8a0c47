const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum;
});

/** CRC-32 of what it is, as text, and of the bytes. At once, unlike the browser's own SHA-256: a transaction of IndexedDB does not wait. */
export function crc32(what: string, bytes: Uint8Array): number {
  let sum = ~0;
  for (const part of [new TextEncoder().encode(what), bytes]) for (const byte of part) sum = TABLE[(sum ^ byte) & 255]! ^ (sum >>> 8);
  return ~sum >>> 0;
}
