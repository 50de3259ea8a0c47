// Pictures that come as files from somewhere, and files that the browser does not take for pictures: SVG, and the reasons for the rest.

import { checkPhotoSize, isA, wrong } from '../api/check.js';
import { aborted, BitMarError, isAborted, messageOf } from '../api/errors.js';
import { download } from '../load/download.js';
import type { Picture } from '../worker/protocol.js';
import { refusal } from './fetch.js';
import { canvas, FOREIGN_PICTURE } from './pixels.js';
import { platform } from './platform.js';

/** The file that a URL names, or that a Response brings. */
export async function fileAt(source: URL | Response, signal: AbortSignal | undefined): Promise<Blob> {
  if (isA(source, 'URL')) {
    const address = platform().resolve(source as URL);
    const { picture } = await download({ picture: { address } }, { signal }, { size: (_, bytes) => checkPhotoSize(bytes) });
    return new Blob([picture.bytes as Uint8Array<ArrayBuffer>]);
  }
  const response = source as Response;
  if (response.type === 'opaque') throw new BitMarError('invalid_image', FOREIGN_PICTURE);
  if (!response.ok) throw refusal(response.url, response);
  if (response.bodyUsed) throw wrong("The Response's body was read before");
  try {
    return await response.blob();
  } catch (cause) {
    if (isAborted(signal)) throw aborted(signal);
    throw new BitMarError('network', `${response.url} broke off: ${messageOf(cause)}`, { cause });
  }
}

/** Pictures that not every browser shows, by how their files begin. */
const OTHER_FORMATS: readonly [name: string, beginning: RegExp][] = [
  ['TIFF', /^(II\*\0|MM\0\*)/],
  ['AVIF', /^.{4}ftypavi[fs]/s],
  ['HEIC or video', /^.{4}ftyp/s],
  ['JPEG XL', /^(\xff\x0a|.{4}JXL )/s],
  ['JPEG 2000', /^(.{4}jP {2}|\xff\x4f\xff\x51)/s],
];

/** What begins so, after comments and declarations, is drawn. */
const SVG = /^(\s|<\?.*?\?>|<!--.*?-->|<!doctype svg.*?>)*<svg[\s>]/is;
const BEGINNING_BYTES = 4096;

/** A file that the browser could not decode: an SVG's picture, or why there is none, as far as can be told. */
export async function captureUndecoded(file: Blob, cause: unknown): Promise<Picture> {
  const bytes = await file.slice(0, BEGINNING_BYTES).arrayBuffer().catch(() => null); // removed or changed since it was chosen
  if (!bytes) throw new BitMarError('invalid_image', 'The file can no longer be read', { cause });
  const text = new TextDecoder().decode(bytes);
  if (SVG.test(text)) return drawSvg(await file.text());
  if (/^\s*<(!doctype )?html/i.test(text)) throw new BitMarError('invalid_image', 'The file is a web page, not a picture', { cause });
  const beginning = String.fromCharCode(...new Uint8Array(bytes).subarray(0, 12));
  const other = OTHER_FORMATS.find(([, pattern]) => pattern.test(beginning));
  if (other) throw new BitMarError('unsupported_image', `This browser does not decode ${other[0]}`, { cause });
  const problem = file.size ? 'damaged, too large, or no image' : 'empty';
  throw new BitMarError('invalid_image', `The browser could not decode the file: it is ${problem}`, { cause });
}

/** The longer side of a drawing whose own is shorter, or that has none; and the longest. */
const SVG_SIDE = 512;
const LONGEST_SVG_SIDE = 4096;

/** On white paper. Only pages can draw it: workers have no images. */
async function drawSvg(text: string): Promise<Picture> {
  if (typeof document === 'undefined') throw new BitMarError('unsupported_image', 'Only pages can draw SVG: there are no images in workers');
  const { markup, width, height } = sized(text);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(markup)}`;
  try {
    await image.decode();
    const paper = canvas(width, height);
    const context = paper.getContext('2d') as OffscreenCanvasRenderingContext2D;
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    return { kind: 'bitmap', bitmap: await createImageBitmap(paper) };
  } catch (cause) {
    throw new BitMarError('invalid_image', 'The browser could not draw the SVG: it is damaged, or the page’s policy forbids images of data: addresses', { cause });
  }
}

/** Browsers differ about drawings without a width and a height: this one gets both. */
function sized(text: string): { markup: string; width: number; height: number } {
  const root = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement;
  const [, , boxWidth, boxHeight] = (root.getAttribute('viewBox') ?? '').trim().split(/[\s,]+/).map(Number);
  const own = (name: string) => (/^\s*[\d.]+(px)?\s*$/.test(root.getAttribute(name) ?? '') ? Number.parseFloat(root.getAttribute(name)!) : 0);
  const w = own('width') || boxWidth || SVG_SIDE;
  const h = own('height') || boxHeight || SVG_SIDE;
  const longer = Math.max(w, h);
  const scale = Math.min(Math.max(longer, SVG_SIDE), LONGEST_SVG_SIDE) / longer;
  const [width, height] = [w, h].map((side) => Math.max(1, Math.round(side * scale))) as [number, number];
  if (!root.hasAttribute('viewBox')) root.setAttribute('viewBox', `0 0 ${w} ${h}`);
  root.setAttribute('width', String(width));
  root.setAttribute('height', String(height));
  return { markup: new XMLSerializer().serializeToString(root), width, height };
}
