// How many pixels a file claims to have: a small one may claim so many that decoding it takes all memory, and browsers try.

/** So much of a file is read at first; most say their size there. */
const BEGINNING_BYTES = 256 << 10;

/** Undefined of what is no PNG, JPEG, GIF or WebP, or ends before it tells. */
export async function sizeOf(file: Blob): Promise<{ width: number; height: number } | undefined> {
  // Behind colour profiles, notes and previews, of which a file may have any number.
  for (let bytes = BEGINNING_BYTES; ; bytes *= 8) {
    const whole = bytes >= file.size;
    const size = sizeIn(new DataView(await file.slice(0, bytes).arrayBuffer()), whole);
    if (size !== null || whole) return size ?? undefined;
  }
}

/** Null where more would have to be read. */
function sizeIn(view: DataView, whole: boolean): Size | undefined | null {
  const has = (at: number, text: string) => [...text].every((character, i) => view.getUint8(at + i) === character.charCodeAt(0));
  try {
    if (has(0, '\x89PNG')) return { width: view.getUint32(16), height: view.getUint32(20) };
    if (has(0, 'GIF8')) return sizeOfGif(view, whole);
    if (has(0, 'RIFF') && has(8, 'WEBP')) return sizeOfWebp(view, has);
    if (has(0, '\xff\xd8')) return sizeOfJpeg(view);
  } catch {
    return null; // it ends before it tells
  }
  return undefined;
}

type Size = { width: number; height: number };

/** The screen's, or the first picture's, where that does not fit into it: browsers then make the screen larger. */
function sizeOfGif(view: DataView, whole: boolean): Size {
  const screen = { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  try {
    const flags = view.getUint8(10);
    let at = 13 + (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0); // behind the palette
    for (; view.getUint8(at) === 0x21; at += 1) {
      for (at += 2; view.getUint8(at) > 0; at += 1 + view.getUint8(at)); // an extension's blocks
    }
    if (view.getUint8(at) !== 0x2c) return screen;
    const [left, top, width, height] = [1, 3, 5, 7].map((i) => view.getUint16(at + i, true)) as [number, number, number, number];
    return { width: Math.max(screen.width, left + width), height: Math.max(screen.height, top + height) };
  } catch (error) {
    if (whole) return screen; // it has no picture
    throw error;
  }
}

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
