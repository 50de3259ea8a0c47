import type { Attachments, Store, StoredState, Thumbnail } from './store.js';

/** Keeps thumbnails for as long as the page lives: for private modes and broken disks. The engine itself holds the episodes. */
export class MemoryStore implements Store {
  readonly durable = false;
  readonly #thumbnails = new Map<number, Thumbnail>();

  async load(): Promise<StoredState> {
    return { snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails: new Map() };
  }

  async append(_: Uint8Array, _sequence: number, attachments: Attachments): Promise<boolean> {
    this.#attach(attachments);
    return true;
  }

  async replace(_: Uint8Array, _sequence: number, attachments: Attachments): Promise<void> {
    this.#attach(attachments);
  }

  async thumbnail(id: number): Promise<Thumbnail | undefined> {
    return this.#thumbnails.get(id);
  }

  close(): void {
    this.#thumbnails.clear();
  }

  #attach({ cleared, removed, evicted, thumbnails }: Attachments): void {
    if (cleared) this.#thumbnails.clear();
    for (const id of [...removed, ...evicted]) this.#thumbnails.delete(id);
    for (const [id, thumbnail] of thumbnails) this.#thumbnails.set(id, thumbnail);
  }
}
