// Reads pixels from anything that the browser can draw. They are copied unscaled: resizing is the engine's work.

import { BitMarError } from '../api/errors.js';
import type { RawPixels } from '../api/types.js';
import type { Thumbnail } from '../store/store.js';
import type { Picture } from '../worker/protocol.js';

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
    if (isSecurityError(error)) throw new BitMarError('invalid_image', FOREIGN_PICTURE, { cause: error });
    throw error;
  } finally {
    bitmap.close();
  }
}

export const FOREIGN_PICTURE = 'The picture comes from another origin, whose server does not allow to read it (no CORS headers)';

/** Whether the browser lets this page see the pixels. */
export function isReadable(bitmap: ImageBitmap): boolean {
  try {
    const context = canvas(1, 1).getContext('2d') as OffscreenCanvasRenderingContext2D | null;
    context?.drawImage(bitmap, 0, 0);
    context?.getImageData(0, 0, 1, 1);
    return true;
  } catch (error) {
    return !isSecurityError(error);
  }
}

function isSecurityError(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'SecurityError';
}

/** The longer side of a thumbnail, and its quality: some 5 KB each. */
const THUMBNAIL_SIDE = 160;
const THUMBNAIL_QUALITY = 0.7;

/** A small copy of the picture, drawn at once and encoded when called. Undefined for what the browser cannot draw. */
export function miniature(picture: Picture): (() => Promise<Thumbnail>) | undefined {
  let image: ImageBitmap | OffscreenCanvas | HTMLCanvasElement;
  if (picture.kind === 'bitmap') {
    image = picture.bitmap;
  } else if (picture.kind === 'pixels' && picture.data.length === 4 * picture.width * picture.height) {
    const { data, width, height } = picture;
    image = canvas(width, height);
    const pixels = new ImageData(new Uint8ClampedArray(data), width, height);
    (image.getContext('2d') as OffscreenCanvasRenderingContext2D | null)?.putImageData(pixels, 0, 0);
  } else {
    return undefined;
  }
  const scale = Math.min(1, THUMBNAIL_SIDE / Math.max(image.width, image.height));
  const small = canvas(Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale)));
  const context = small.getContext('2d') as OffscreenCanvasRenderingContext2D | null;
  if (!context) return undefined;
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#fff'; // as the engine sees what is transparent
  context.fillRect(0, 0, small.width, small.height);
  context.drawImage(image, 0, 0, small.width, small.height);
  return async () => {
    const blob = await encode(small);
    return { type: blob.type, bytes: new Uint8Array(await blob.arrayBuffer()) };
  };
}

function encode(image: OffscreenCanvas | HTMLCanvasElement): Promise<Blob> {
  const type = 'image/jpeg';
  if ('convertToBlob' in image) return image.convertToBlob({ type, quality: THUMBNAIL_QUALITY });
  return new Promise((resolve, reject) => {
    const done = (blob: Blob | null) => (blob ? resolve(blob) : reject(new BitMarError('out_of_memory', 'The browser made no thumbnail')));
    image.toBlob(done, type, THUMBNAIL_QUALITY);
  });
}

export function canvas(width: number, height: number): OffscreenCanvas | HTMLCanvasElement {
  if (typeof OffscreenCanvas !== 'undefined') return new OffscreenCanvas(width, height);
  if (typeof document === 'undefined') throw new BitMarError('unsupported_platform', 'This worker has no OffscreenCanvas');
  return Object.assign(document.createElement('canvas'), { width, height });
}
