// Captions of many pictures, one after the other.

import type { BitMar } from './bitmar.js';
import { BitMarError, type ErrorCode } from './errors.js';
import type { Caption, Captioned, CaptionOptions, Source } from './types.js';

/** What concerns one picture, and not all that follow. */
const OF_ONE: readonly ErrorCode[] = ['invalid_image', 'image_too_large', 'unsupported_image', 'missing_file', 'network', 'invalid_argument'];

/** The next picture is caught while the one before is captioned. */
const AT_ONCE = 2;

export async function* captionAll<Each extends Source>(
  model: BitMar,
  sources: Iterable<Each> | AsyncIterable<Each>,
  options: CaptionOptions,
): AsyncGenerator<Captioned<Each>, void, void> {
  const pending: Promise<Captioned<Each>>[] = [];
  let index = 0;
  for await (const source of sources) {
    const next = outcome(index, source, model.caption(source, options));
    index += 1;
    next.catch(() => {}); // reported when its turn comes
    pending.push(next);
    if (pending.length >= AT_ONCE) yield await pending.shift()!;
  }
  while (pending.length) yield await pending.shift()!;
}

async function outcome<Each>(index: number, source: Each, captioning: Promise<Caption>): Promise<Captioned<Each>> {
  try {
    return { index, source, caption: await captioning, error: undefined };
  } catch (error) {
    if (!(error instanceof BitMarError) || !OF_ONE.includes(error.code)) throw error;
    return { index, source, caption: undefined, error };
  }
}
