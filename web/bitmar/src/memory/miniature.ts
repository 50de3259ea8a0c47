// The small picture that is kept with an episode: made of the picture, or the caller's own.

import { unlike, wrong } from '../api/check.js';
import { platform } from '../platform/platform.js';
import type { Thumbnail } from '../store/store.js';
import { imageType, MOST_THUMBNAIL_BYTES } from '../store/thumbnails.js';
import type { Picture } from '../worker/protocol.js';

/** Makes a thumbnail when it is needed. */
export type Miniature = (() => Promise<Thumbnail>) | undefined;

/** What the option `thumbnail` asks for. To be called before the picture is handed to the worker. */
export function miniatureOf(picture: Picture, thumbnail: unknown): Miniature {
  if (thumbnail === undefined || thumbnail === false) return undefined;
  if (thumbnail === true) return platform().miniature(picture);
  if (!(thumbnail instanceof Blob)) throw unlike('thumbnail', 'true or a Blob', thumbnail);
  const { type, size } = thumbnail;
  if (type !== '' && imageType(type) === undefined) throw unlike('The type of a thumbnail', 'that of an image', type);
  if (size > MOST_THUMBNAIL_BYTES) throw wrong(`A thumbnail may have ${MOST_THUMBNAIL_BYTES} bytes, not ${size}`);
  return async () => ({ type, bytes: new Uint8Array(await thumbnail.arrayBuffer()) });
}
