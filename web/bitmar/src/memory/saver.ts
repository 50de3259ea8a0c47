// What a store has of the memory, what is due with the next save, and the save itself: a frame of what changed, or a snapshot of everything.

import type { PendingAttachments } from '../store/attachments.js';
import { storageFailure } from '../store/checks.js';
import type { Store, StoredState, Thumbnail } from '../store/store.js';
import type { WriterNews } from '../store/writer.js';
import type { HostClient } from '../worker/host-client.js';
import type { Attached } from './attached.js';

/** A journal smaller than this is never compacted. */
const LEAST_JOURNAL_BYTES = 64 << 10;

export class Saver {
  readonly #host: HostClient;
  readonly #attached: Attached;
  readonly #missing: (id: number) => void;
  #sequence = 0; // of the last change that is saved
  #snapshotBytes = 0;
  #journalBytes = 0;
  #snapshotDue = true; // the next save replaces everything
  #asideDue = false; // some of what it replaces could not be read
  #forgetDue = false; // and what was set aside goes too
  readonly #forgotten = new Set<number>(); // episodes of which nothing may stay there either

  /** `missing` hears of thumbnails that the store should have and does not give. */
  constructor(host: HostClient, attached: Attached, missing: (id: number) => void) {
    this.#host = host;
    this.#attached = attached;
    this.#missing = missing;
  }

  get kept(): { sequence: number; bytes: number } {
    return { sequence: this.#sequence, bytes: this.#snapshotBytes + this.#journalBytes };
  }

  /** `sequence`: that of the engine now. `lost`: how much could not be read. */
  loaded({ snapshot, frames, rewrite = false, sequence: saved }: StoredState, sequence: number, lost: number): void {
    this.#asideDue = lost > 0;
    this.#sequence = sequence;
    this.#snapshotBytes = snapshot?.length ?? 0;
    this.#journalBytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    // Frames build on what is kept. Where that is not what was loaded (damage, fewer slots), they could not.
    this.#snapshotDue = !snapshot || rewrite || lost > 0 || sequence !== saved;
  }

  /** Another tab has saved so far; undefined where that is not known. */
  follow(sequence: number | undefined): void {
    this.#sequence = sequence ?? -1;
  }

  /** What is there cannot be read: it is set aside before it is replaced. */
  spoiled(): void {
    this.#asideDue = true;
  }

  forget(id: number): void {
    this.#forgotten.add(id);
    this.#snapshotDue = true;
  }

  /** `unread`: in the place of what could not be read. */
  beginAnew(forget: boolean, unread: boolean): void {
    this.#forgetDue ||= forget;
    if (forget) this.#asideDue = false;
    this.#snapshotDue = true;
    if (unread) this.#forgotten.clear(); // it had none of these episodes, but may have others of the same numbers
  }

  /** The news for the other tabs; undefined where nothing has changed. Where it fails, all is due that was due before. */
  async save(store: Store): Promise<WriterNews | undefined> {
    const from = this.#sequence;
    let whole: { forget: boolean } | undefined; // what the snapshot that is being saved was due for
    try {
      if (!this.#asideDue) await this.#eraseForgotten(store);
      if (!this.#snapshotDue && this.#journalBytes <= Math.max(this.#snapshotBytes, LEAST_JOURNAL_BYTES)) {
        const { bytes, sequence } = await this.#host.memory('changes', { since: from });
        const taken = this.#attached.take(); // after the engine's answer: so that it has whatever belongs to the frame
        if (!bytes.length && taken.empty) {
          if ((await store.holds?.()) ?? true) {
            this.#attached.saved();
            return undefined;
          }
        } else if (await store.append(bytes, sequence, taken)) {
          this.#journalBytes += bytes.length;
          return this.#saved({ from, to: sequence, frame: bytes, cleared: taken.cleared, removed: taken.removed, captions: taken.captions });
        }
        this.#attached.allUnsaved(taken, await this.#keptThumbnails(store, taken));
        this.#snapshotDue = true;
      }
      if (this.#asideDue) await store.setAside?.();
      this.#asideDue = false;
      await this.#eraseForgotten(store);
      const { bytes, sequence } = await this.#host.memory('snapshot', {});
      const taken = this.#attached.take();
      whole = { forget: this.#forgetDue };
      this.#forgetDue = this.#snapshotDue = false; // what comes from now on is not in it
      await store.replace(bytes, sequence, taken);
      if (whole.forget) await store.dropAside?.();
      this.#snapshotBytes = bytes.length;
      this.#journalBytes = 0;
      return this.#saved({ from, to: sequence });
    } catch (error) {
      this.#attached.giveBack();
      if (whole) this.#snapshotDue = true;
      this.#forgetDue ||= whole?.forget ?? false;
      throw error;
    }
  }

  #saved(news: WriterNews): WriterNews {
    this.#attached.saved();
    this.#sequence = news.to;
    return news;
  }

  /** Before the save: what it acknowledges must be true, and should it fail, they are forgotten all the same. */
  async #eraseForgotten(store: Store): Promise<void> {
    const ids = [...this.#forgotten];
    if (!ids.length) return;
    await store.eraseAside?.(ids);
    for (const id of ids) this.#forgotten.delete(id);
  }

  /** Of a store that was emptied by somebody, perhaps in part: what is still there. */
  async #keptThumbnails(store: Store, unsaved: PendingAttachments): Promise<Map<number, Thumbnail>> {
    const kept = new Map<number, Thumbnail>();
    for (const id of [...this.#attached.budget.ids()]) {
      if (unsaved.thumbnails.has(id) || unsaved.drops(id)) continue;
      try {
        const thumbnail = await store.thumbnail(id);
        if (thumbnail) kept.set(id, thumbnail);
        else this.#missing(id);
      } catch (error) {
        if (storageFailure(error).code !== 'invalid_state') throw error;
        this.#missing(id);
        this.#asideDue = true; // what is left of it
      }
    }
    return kept;
  }
}
