// Captures the sources that are the same on every platform: plain bytes.

import { copied, isA, nameOf, reading, unlike, wrong } from '../api/check.js';
import { BitMarError } from '../api/errors.js';
import { demand } from '../api/on-demand.js';
import type { Features, RawPixels, Source } from '../api/types.js';
import type { Picture } from '../worker/protocol.js';

/** A Picture with a copy of the bytes, or undefined for a source that is not plain bytes. */
export function capturePlain(source: Source): Picture | undefined {
  return reading('The picture', () => captureBytes(source));
}

function captureBytes(source: Source): Picture | undefined {
  if (typeof source !== 'object' || source === null) {
    throw unlike('A picture', 'an object, such as a Blob or a URL,', source);
  }
  if (isFeatures(source)) return { kind: 'features', features: copied(() => new Float32Array(source.features), 'the features') };
  if (isRawPixels(source)) {
    const { data, width, height } = source;
    if (!isSide(width) || !isSide(height)) throw new BitMarError('invalid_image', `${nameOf(width)} x ${nameOf(height)} is no size of a picture`);
    return { kind: 'pixels', data: copied(() => new Uint8Array(data), 'the picture'), width, height };
  }
  return undefined;
}

/** The file that a source is or leads to; undefined of other sources. */
export function fileOf(source: Source, signal: AbortSignal | undefined): Blob | Promise<Blob> | undefined {
  if (isA(source, 'Uint8Array', 'ArrayBuffer')) {
    copied(() => new Uint8Array(source as ArrayBuffer), 'the file'); // a Blob would take none of a detached buffer
    return new Blob([source as ArrayBuffer]);
  }
  if (isA(source, 'URL', 'Response')) return demand('photoFiles').then(({ fileAt }) => fileAt(source as URL | Response, signal));
  return source instanceof Blob ? source : undefined;
}

export function unknownSource(source: object): BitMarError {
  return wrong(`Not a kind of picture that is known here: ${nameOf(source)}`);
}

/** The engine's own limits are lower; this keeps a number from being another one there. */
function isSide(size: number): boolean {
  return Number.isInteger(size) && size >= 0 && size <= 0x7fffffff;
}

function isFeatures(source: object): source is Features {
  return 'features' in source && isA(source.features, 'Float32Array');
}

function isRawPixels(source: object): source is RawPixels {
  return 'data' in source && isA(source.data, 'Uint8Array', 'Uint8ClampedArray');
}
