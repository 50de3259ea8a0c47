// Pixels out of the browser's drawable things. They are copied as they are: resizing is the engine's work.

import { BitMarError } from './errors.js';
import type { RawPixels } from './types.js';

/** Phones refuse canvases above about 16 million pixels, so that large pictures are read in strips of at most this many. */
const STRIP_PIXELS = 4 << 20;

export function readPixels(bitmap: ImageBitmap): RawPixels {
  const { width, height } = bitmap;
  try {
    const rows = Math.max(1, Math.min(height, Math.floor(STRIP_PIXELS / width)));
    const context = canvas(width, rows).getContext('2d', { willReadFrequently: true }) as OffscreenCanvasRenderingContext2D | null;
    if (!context) throw new BitMarError('out_of_memory', 'The browser gave no canvas to read pixels from');
    context.globalCompositeOperation = 'copy';
    if (rows === height) {
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, width, height);
    }
    const data = new Uint8ClampedArray(4 * width * height);
    for (let top = 0; top < height; top += rows) {
      const strip = Math.min(rows, height - top);
      context.drawImage(bitmap, 0, -top);
      data.set(context.getImageData(0, 0, width, strip).data, 4 * width * top);
    }
    return { data, width, height };
  } catch (error) {
    if (error instanceof RangeError) throw new BitMarError('image_too_large', `No memory for ${width} x ${height} pixels`);
    throw error;
  } finally {
    bitmap.close();
  }
}

function canvas(width: number, height: number): OffscreenCanvas | HTMLCanvasElement {
  if (typeof OffscreenCanvas !== 'undefined') return new OffscreenCanvas(width, height);
  if (typeof document === 'undefined') throw new BitMarError('unsupported_platform', 'This worker has no OffscreenCanvas');
  return Object.assign(document.createElement('canvas'), { width, height });
}
