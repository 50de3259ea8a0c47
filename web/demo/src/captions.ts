// Captions of photos: one call for each photo, whoever wants it.

import { BitMarError, type Caption } from 'bitmar';
import { element } from './dom.js';
import type { Engine } from './engine.js';
import type { Photo } from './photo.js';

/** A better caption for a few milliseconds: see docs/performance.md. */
export const NUM_BEAMS = 8;

const remember = element<HTMLInputElement>('remember');

export class Captions {
  readonly #engine: Engine;
  readonly #pending = new Map<Photo, Promise<Caption>>();
  /** A photo of the visitor's has its caption now, or cannot have one. */
  onDone: (photo: Photo) => void = () => {};

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** `signal` gives up a sample; the visitor's photos are in the gallery, and get theirs anyway. */
  of(photo: Photo, signal?: AbortSignal): Promise<Caption> {
    if (photo.caption) return Promise.resolve(photo.caption);
    if (!photo.own) return this.#caption(photo, signal);
    let pending = this.#pending.get(photo);
    if (!pending) {
      pending = this.#captionOwn(photo).finally(() => this.#pending.delete(photo));
      this.#pending.set(photo, pending);
    }
    return pending;
  }

  async #captionOwn(photo: Photo): Promise<Caption> {
    try {
      photo.caption = await this.#caption(photo);
      return photo.caption;
    } catch (error) {
      photo.unreadable = isUnreadable(error);
      throw error;
    } finally {
      this.onDone(photo);
    }
  }

  async #caption({ source, own }: Photo, signal?: AbortSignal): Promise<Caption> {
    if (source instanceof HTMLImageElement) await source.decode().catch(() => {}); // if it cannot be, the model says so
    const writeMemory = own && remember.checked;
    return this.#engine.use((model) => model.caption(source, { numBeams: NUM_BEAMS, writeMemory, thumbnail: true, signal }));
  }
}

export function isUnreadable(error: unknown): error is BitMarError {
  return error instanceof BitMarError && /image/.test(error.code);
}
