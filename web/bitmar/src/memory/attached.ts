// Captions and thumbnails of the episodes: those that are there, those that no store has yet, those that are being made.

import { PendingAttachments } from '../store/attachments.js';
import type { StoredState, Thumbnail } from '../store/store.js';
import { asThumbnail, ThumbnailBudget } from '../store/thumbnails.js';
import type { WriterNews } from '../store/writer.js';

export class Attached {
  readonly budget: ThumbnailBudget;
  /** Of every episode that has one. */
  readonly captions = new Map<number, string>();
  #pending = new PendingAttachments();
  #saving: PendingAttachments | undefined; // what a save has taken of these, and the store may not have yet
  readonly #expected = new Map<number, symbol>(); // episodes whose thumbnails are being made
  readonly #missed = new Set<number>(); // episodes whose thumbnails could not be read

  constructor(thumbnailBytes: number) {
    this.budget = new ThumbnailBudget(thumbnailBytes);
  }

  attach(id: number, caption: string | undefined, thumbnail: Thumbnail | undefined): void {
    if (caption !== undefined) {
      this.captions.set(id, caption);
      this.#pending.captions.set(id, caption);
    }
    if (!thumbnail) return;
    const evicted = this.budget.add(id, thumbnail.bytes.length);
    this.#pending.thumbnails.set(id, asThumbnail(thumbnail));
    this.#missed.delete(id);
    for (const other of evicted) this.#pending.evict(other);
  }

  /**
   * For an episode that has just been written: attaches the thumbnail once it is made, and says whether it did. It does only where the episode
   * is still the same: neither gone nor another's.
   */
  expect(id: number): (thumbnail: Thumbnail | undefined) => boolean {
    const token = Symbol();
    this.#expected.set(id, token);
    return (thumbnail) => {
      if (this.#expected.get(id) !== token) return false;
      this.#expected.delete(id);
      this.attach(id, undefined, thumbnail);
      return thumbnail !== undefined;
    };
  }

  remove(id: number): void {
    this.#expected.delete(id);
    this.#missed.delete(id);
    this.captions.delete(id);
    this.budget.remove(id);
    this.#pending.remove(id);
  }

  /** Everything is another memory now. */
  clear(): void {
    this.captions.clear();
    this.budget.reset(new Map());
    this.#expected.clear();
    this.#missed.clear();
    this.#pending.clear();
  }

  /** What a store has. */
  load({ captions, thumbnails }: Pick<StoredState, 'captions' | 'thumbnails'>): void {
    this.#pending = new PendingAttachments();
    this.#expected.clear();
    this.captions.clear();
    for (const [id, text] of captions) this.captions.set(id, text);
    for (const id of this.budget.reset(thumbnails)) this.#pending.evict(id);
  }

  /** What another tab has saved. */
  follow({ cleared, removed, captions }: WriterNews): void {
    if (cleared) this.captions.clear();
    for (const id of removed ?? []) this.captions.delete(id);
    for (const [id, text] of captions ?? []) this.captions.set(id, text);
  }

  keepOnly(known: ReadonlySet<number>): void {
    for (const id of new Set([...this.captions.keys(), ...this.budget.ids()])) if (!known.has(id)) this.remove(id);
  }

  /** Of a thumbnail that is not with the store, or not for long any more: what it is, or that it goes. Undefined: the store has it. */
  unsaved(id: number): { thumbnail: Thumbnail | undefined } | undefined {
    for (const part of [this.#pending, this.#saving]) {
      const thumbnail = part?.thumbnails.get(id);
      if (thumbnail || part?.drops(id)) return { thumbnail };
    }
    return undefined;
  }

  /** The store does not give a thumbnail. Whether it should have, the first time. */
  misses(id: number): boolean {
    if (!this.budget.has(id) || this.#missed.has(id)) return false;
    this.#missed.add(id);
    return true;
  }

  // ---- A save: take, and then either `saved` or `giveBack` ----

  take(): PendingAttachments {
    this.#saving = this.#pending;
    this.#pending = new PendingAttachments();
    return this.#saving;
  }

  saved(): void {
    this.#saving = undefined;
  }

  giveBack(): void {
    if (this.#saving) this.#pending = this.#pending.after(this.#saving);
    this.#saving = undefined;
  }

  /** A store has lost what it had, perhaps in part: all captions are to be saved, and the thumbnails that are to be had, which are these and `kept`. */
  allUnsaved(taken: PendingAttachments, kept: ReadonlyMap<number, Thumbnail>): void {
    const unsaved = this.#pending.after(taken);
    const all = new PendingAttachments();
    all.clear();
    for (const [id, text] of this.captions) all.captions.set(id, text);
    for (const [id, thumbnail] of kept) if (this.budget.has(id) && !unsaved.drops(id)) all.thumbnails.set(id, thumbnail);
    for (const [id, thumbnail] of unsaved.thumbnails) all.thumbnails.set(id, thumbnail);
    this.budget.reset(new Map([...all.thumbnails].map(([id, { bytes }]) => [id, bytes.length])));
    this.#pending = all;
  }
}
