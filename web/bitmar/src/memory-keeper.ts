// Keeps the engine's memory and its store in step: loads it, saves what changed, follows another tab's writer, takes its place.

import { PendingAttachments } from './attachments.js';
import { BitMarError, messageOf } from './errors.js';
import type { HostClient } from './host-client.js';
import type { LoadReport, StorageStatus } from './memory-types.js';
import { MemoryStore, type Store, type Thumbnail } from './store.js';
import { ThumbnailBudget } from './thumbnails.js';
import { join, type Membership, type WriterNews } from './writer.js';

export interface KeeperOptions {
  host: HostClient;
  /** How many slots; undefined for the model's own number. */
  slots: number | undefined;
  /** Undefined: nothing is to be kept. May reject. */
  openStore: (() => Promise<Store>) | undefined;
  /** The name among tabs; undefined where there are no other tabs. */
  group: string | undefined;
  autosaveMs: number;
  thumbnailBytes: number;
  onStatus(status: StorageStatus): void;
  /** The memory is another one: loaded, or changed by another tab. */
  onLoad(): void;
}

/** A journal smaller than this is never compacted. */
const LEAST_JOURNAL_BYTES = 64 << 10;
const LONGEST_RETRY_MS = 60_000;

export class MemoryKeeper {
  readonly budget: ThumbnailBudget;
  /** Of every episode that has one. */
  readonly captions = new Map<number, string>();
  readonly #options: KeeperOptions;
  #store: Store = new MemoryStore();
  #spoiled: Store | undefined; // holds something that cannot be read: only a new beginning may overwrite it
  #member: Membership | undefined;
  #status: StorageStatus = { durable: false, role: 'writer', error: null };
  #opening: Promise<void> | undefined;
  #work: Promise<unknown> = Promise.resolve(); // saving and loading, one after the other
  #nextSave: Promise<void> | undefined; // waits for its turn
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;

  #pending = new PendingAttachments();
  #savedSequence = 0;
  #snapshotBytes = 0;
  #journalBytes = 0;
  #snapshotDue = true; // the next save replaces everything

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.budget = new ThumbnailBudget(options.thumbnailBytes);
  }

  get status(): StorageStatus {
    return this.#status;
  }

  get opened(): boolean {
    return this.#opening !== undefined;
  }

  get saved(): { sequence: number; bytes: number } {
    return { sequence: this.#savedSequence, bytes: this.#snapshotBytes + this.#journalBytes };
  }

  /** Loads what was kept. Never rejects for the storage's sake: without it the memory goes on, and the status says so. */
  open(): Promise<void> {
    return (this.#opening ??= this.#open());
  }

  /** After every change that the engine has made. */
  changed(): void {
    if (this.#timer !== undefined || this.#closed || this.#status.role === 'reader') return;
    const wait = Math.min(this.#options.autosaveMs * 2 ** this.#failures, LONGEST_RETRY_MS);
    this.#timer = setTimeout(() => this.save().catch(() => {}), wait); // the status tells
    if (this.#failures > 0) this.#timer.unref?.(); // node: a disk that stays full keeps no process alive
  }

  /** Resolves when all changes so far are durable. */
  save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#status.role === 'reader') return Promise.resolve();
    return (this.#nextSave ??= this.#inTurn(() => {
      this.#nextSave = undefined;
      return this.#save();
    }));
  }

  /** Whether a change waits to be saved by itself. */
  get dirty(): boolean {
    return this.#timer !== undefined;
  }

  attach(id: number, caption: string | undefined, thumbnail: Thumbnail | undefined): void {
    if (caption !== undefined) {
      this.captions.set(id, caption);
      this.#pending.captions.set(id, caption);
    }
    if (!thumbnail) return;
    const evicted = this.budget.add(id, thumbnail.bytes.length);
    this.#pending.thumbnails.set(id, thumbnail);
    for (const other of evicted) this.#pending.evict(other);
  }

  remove(id: number): void {
    this.captions.delete(id);
    this.budget.remove(id);
    this.#pending.remove(id);
  }

  async thumbnail(id: number): Promise<Thumbnail | undefined> {
    const pending = this.#pending.thumbnails.get(id);
    return pending ?? (this.#pending.drops(id) ? undefined : this.#store.thumbnail(id));
  }

  /** Everything is another memory now, after a `clear` or an import: what was kept goes with the next save. */
  beginAnew(): void {
    this.captions.clear();
    this.budget.reset(new Map());
    this.#pending.clear();
    this.#snapshotDue = true;
    if (!this.#spoiled) return;
    this.#store = this.#spoiled;
    this.#spoiled = undefined;
    this.#tell({ durable: this.#store.durable, error: null });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#member?.leave();
    this.#store.close();
    this.#spoiled?.close();
  }

  async #open(): Promise<void> {
    const { host, slots, openStore, group } = this.#options;
    if (slots !== undefined) await host.memory('configure', { slots });
    if (!openStore) return;
    try {
      this.#store = await openStore();
      if (group !== undefined) {
        const member = await join(group, {
          granted: () => void this.#inTurn(() => this.#promote()),
          news: (news) => void this.#inTurn(() => this.#follow(news)),
        });
        this.#member = member;
        if (!member.writer) this.#status = { ...this.#status, role: 'reader' };
      }
      await this.#inTurn(() => this.#load());
      this.#tell({ durable: this.#store.durable });
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** The engine's memory from the store. */
  async #load(): Promise<LoadReport> {
    const { snapshot, frames, sequence, captions, thumbnails } = await this.#store.load();
    let report = { loaded: 0, droppedSlots: 0, droppedFrames: 0, leftOut: 0, sequence: 0 };
    if (snapshot) report = await this.#options.host.memory('load', { snapshot, frames });
    else await this.#options.host.memory('clear', {});
    this.#savedSequence = report.sequence;
    this.#snapshotBytes = snapshot?.length ?? 0;
    this.#journalBytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    // Frames build on what is kept. Where that is not what was loaded (damage, another number of slots), they could not.
    this.#snapshotDue = !snapshot || report.droppedSlots + report.droppedFrames > 0 || report.sequence !== sequence;
    this.#pending = new PendingAttachments();
    this.captions.clear();
    for (const [id, text] of captions) this.captions.set(id, text);
    for (const id of this.budget.reset(thumbnails)) this.#pending.evict(id);
    if (snapshot) await this.#dropOrphans();
    this.#options.onLoad();
    return report;
  }

  /** What belongs to episodes that were damaged. */
  async #dropOrphans(): Promise<void> {
    const episodes = await this.#options.host.memory('list', { limit: Infinity, before: Infinity });
    const known = new Set(episodes.map(({ id }) => id));
    for (const id of new Set([...this.captions.keys(), ...this.budget.ids()])) if (!known.has(id)) this.remove(id);
  }

  async #save(): Promise<void> {
    if (this.#closed) return;
    if (this.#store instanceof MemoryStore) {
      await this.#store.append(new Uint8Array(), 0, this.#pending);
      this.#pending = new PendingAttachments();
      if (this.#status.error) throw this.#status.error;
      return;
    }
    const from = this.#savedSequence;
    let taken = this.#pending;
    const take = () => {
      taken = this.#pending;
      this.#pending = new PendingAttachments();
    };
    try {
      if (!this.#snapshotDue && this.#journalBytes <= Math.max(this.#snapshotBytes, LEAST_JOURNAL_BYTES)) {
        const { bytes, sequence } = await this.#options.host.memory('changes', { since: from });
        take(); // after the engine's answer: so that it has whatever belongs to the frame
        if (!bytes.length && taken.empty) return;
        if (await this.#store.append(bytes, sequence, taken)) {
          this.#journalBytes += bytes.length;
          this.#kept(sequence, { from, to: sequence, frame: bytes, cleared: taken.cleared, removed: taken.removed, captions: taken.captions });
          return;
        }
        this.#pending = this.#everything(this.#pending.after(taken));
      }
      const { bytes, sequence } = await this.#options.host.memory('snapshot', {});
      take();
      await this.#store.replace(bytes, sequence, taken);
      this.#snapshotDue = false;
      this.#snapshotBytes = bytes.length;
      this.#journalBytes = 0;
      this.#kept(sequence, { from, to: sequence });
    } catch (error) {
      if (taken !== this.#pending) this.#pending = this.#pending.after(taken);
      this.#failures += 1;
      if (this.#closed) throw error;
      const failure = error instanceof BitMarError ? error : new BitMarError('storage_unavailable', messageOf(error), { cause: error });
      this.#tell({ durable: false, error: failure });
      if (failure.code.startsWith('storage_')) this.changed(); // tries again later
      throw failure;
    }
  }

  /** For a store that was emptied by somebody: all captions, and those thumbnails that are still here. */
  #everything(unsaved: PendingAttachments): PendingAttachments {
    const all = new PendingAttachments();
    all.clear();
    for (const [id, text] of this.captions) all.captions.set(id, text);
    for (const [id, thumbnail] of unsaved.thumbnails) all.thumbnails.set(id, thumbnail);
    this.budget.reset(new Map([...unsaved.thumbnails].map(([id, { bytes }]) => [id, bytes.length])));
    this.#snapshotDue = true;
    return all;
  }

  #kept(sequence: number, news: WriterNews): void {
    this.#savedSequence = sequence;
    this.#failures = 0;
    this.#member?.tell(news);
    this.#tell({ durable: this.#store.durable, error: null });
  }

  /** Another tab has saved. */
  async #follow(news: WriterNews): Promise<void> {
    if (this.#closed || this.#status.role === 'writer') return;
    try {
      if (!news.frame || news.from !== this.#savedSequence) {
        await this.#load();
        return;
      }
      const { droppedFrames, sequence } = await this.#options.host.memory('load', { snapshot: null, frames: [news.frame] });
      if (droppedFrames > 0) {
        await this.#load();
        return;
      }
      this.#savedSequence = sequence;
      if (news.cleared) this.captions.clear();
      for (const id of news.removed ?? []) this.captions.delete(id);
      for (const [id, text] of news.captions ?? []) this.captions.set(id, text);
      this.#options.onLoad();
    } catch {
      // The next news, or the role, loads everything again.
      this.#savedSequence = -1;
    }
  }

  /** The writer is gone, and nobody else writes from now on. */
  async #promote(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#load(); // what the other did last may not have been told
      this.#tell({ durable: this.#store.durable, role: 'writer', error: null });
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** Goes on in memory alone. What was kept stays as it is. */
  #giveUp(error: unknown): void {
    if (this.#closed) return;
    const failure = error instanceof BitMarError ? error : new BitMarError('storage_unavailable', messageOf(error), { cause: error });
    const spoiled = failure.code === 'invalid_state';
    if (spoiled) {
      this.#spoiled = this.#store;
    } else {
      this.#store.close();
      this.#member?.leave();
      this.#member = undefined;
    }
    this.#store = new MemoryStore();
    const role = spoiled ? this.#status.role : 'writer';
    this.#tell({ durable: false, role, error: failure });
  }

  #tell(change: Partial<StorageStatus>): void {
    const { durable, role, error } = { ...this.#status, ...change };
    const same = durable === this.#status.durable && role === this.#status.role && error?.code === this.#status.error?.code;
    this.#status = { durable, role, error };
    if (!same) this.#options.onStatus(this.#status);
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => {});
    return result;
  }
}
