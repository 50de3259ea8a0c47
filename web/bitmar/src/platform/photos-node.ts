// Decodes photo files under node. Browsers decode them before they reach the host.

import type { RawPixels } from '../api/types.js';
import type { PhotosModule } from '../engine.js';

let photos: Promise<PhotosModule> | undefined;

/** A JPEG or PNG file. */
export async function decodePhoto(file: Uint8Array): Promise<RawPixels> {
  photos ??= import('../wasm/bitmar-photos.mjs').then(({ default: createPhotos }) => createPhotos());
  return (await photos).decode(file);
}
