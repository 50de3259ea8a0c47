// How many pixels a file claims to have: a small one may claim so many that decoding it takes all memory, and browsers try.

/** As far into a file as a JPEG's size is looked for: behind a colour profile, a thumbnail, and what cameras note. */
const BEGINNING_BYTES = 256 << 10;

/** Undefined of what is no PNG, JPEG, GIF or WebP, or does not tell at its beginning. */
export async function sizeOf(file: Blob): Promise<{ width: number; height: number } | undefined> {
  const bytes = new Uint8Array(await file.slice(0, BEGINNING_BYTES).arrayBuffer());
  const view = new DataView(bytes.buffer);
  const has = (at: number, text: string) => [...text].every((character, i) => bytes[at + i] === character.charCodeAt(0));
  try {
    if (has(0, '\x89PNG')) return { width: view.getUint32(16), height: view.getUint32(20) };
    if (has(0, 'GIF8')) return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
    if (has(0, 'RIFF') && has(8, 'WEBP')) return sizeOfWebp(view, has);
    if (has(0, '\xff\xd8')) return sizeOfJpeg(view);
  } catch {
    // it ends before it tells
  }
  return undefined;
}

type Size = { width: number; height: number };

function sizeOfWebp(view: DataView, has: (at: number, text: string) => boolean): Size | undefined {
  if (has(12, 'VP8X')) return { width: 1 + (view.getUint32(24, true) & 0xffffff), height: 1 + (view.getUint32(26, true) >>> 8) };
  if (has(12, 'VP8L')) {
    const bits = view.getUint32(21, true);
    return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
  }
  if (has(12, 'VP8 ')) return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  return undefined;
}

/** From marker to marker, up to that of a frame. What lies between segments is skipped, as browsers do. */
function sizeOfJpeg(view: DataView): Size {
  for (let at = 2; ; ) {
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    const isAlone = marker <= 1 || (marker >= 0xd0 && marker <= 0xd7); // no segment
    if (view.getUint8(at) !== 0xff || marker === 0xff) at += 1;
    else if (isAlone) at += 2;
    else if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    else at += 2 + view.getUint16(at + 2);
  }
}
