// A photo that can be shown on the stage.

import type { Caption } from 'bitmar';

export interface Photo {
  readonly url: string;
  readonly alt: string;
  /** What the visitor knows it by. */
  readonly name: string;
  /** What is captioned: the file, or for a sample its image. */
  readonly source: Blob | HTMLImageElement;
  /** The visitor's, which may be remembered; not a sample. */
  readonly own: boolean;
  /** Shown mirrored, like the live picture that it is a frame of. */
  readonly mirrored: boolean;
  /** Once it has one. Samples are captioned anew each time, for the memory may have more to say. */
  caption?: Caption;
  /** It is no picture, or none that can be read here. */
  unreadable?: boolean;
}

export function ownPhoto(file: File, alt: string, mirrored = false): Photo {
  return { url: URL.createObjectURL(file), alt, name: file.name, source: file, own: true, mirrored };
}

export function samplePhoto(url: string, alt: string): Photo {
  return { url, alt, name: alt, source: Object.assign(new Image(), { src: url }), own: false, mirrored: false };
}
