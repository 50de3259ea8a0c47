import type { Attachments, Thumbnail } from './store.js';

export function applyCaptions(all: Map<number, string>, { cleared, removed, captions }: Pick<Attachments, 'cleared' | 'removed' | 'captions'>): void {
  if (cleared) all.clear();
  for (const id of removed) all.delete(id);
  for (const [id, text] of captions) all.set(id, text);
}

/** Captions and thumbnails that are not saved yet. */
export class PendingAttachments implements Attachments {
  cleared = false;
  readonly #removed = new Set<number>();
  readonly #evicted = new Set<number>();
  readonly captions = new Map<number, string>();
  readonly thumbnails = new Map<number, Thumbnail>();

  get removed(): readonly number[] {
    return [...this.#removed];
  }

  get evicted(): readonly number[] {
    return [...this.#evicted];
  }

  get empty(): boolean {
    return !this.cleared && this.#removed.size + this.#evicted.size + this.captions.size + this.thumbnails.size === 0;
  }

  /** Whether the thumbnail that was saved is to go. */
  drops(id: number): boolean {
    return this.cleared || this.#removed.has(id) || this.#evicted.has(id);
  }

  clear(): void {
    this.cleared = true;
    for (const part of [this.#removed, this.#evicted, this.captions, this.thumbnails]) part.clear();
  }

  /** The episode is gone. */
  remove(id: number): void {
    this.captions.delete(id);
    this.thumbnails.delete(id);
    this.#evicted.delete(id);
    this.#removed.add(id);
  }

  /** The thumbnail had to make room. */
  evict(id: number): void {
    this.thumbnails.delete(id);
    this.#evicted.add(id);
  }

  /** Before these, what could not be saved earlier. */
  after(earlier: PendingAttachments): PendingAttachments {
    const all = new PendingAttachments();
    for (const part of [earlier, this]) {
      if (part.cleared) all.clear();
      for (const id of part.#removed) all.remove(id);
      for (const id of part.#evicted) all.evict(id);
      for (const [id, text] of part.captions) all.captions.set(id, text);
      for (const [id, thumbnail] of part.thumbnails) all.thumbnails.set(id, thumbnail);
    }
    return all;
  }
}
