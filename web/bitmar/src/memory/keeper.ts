// Keeps the engine's memory and its store in step: loads, saves changes, follows the tab that writes, and takes its place.

import { BitMarError, disposed } from '../api/errors.js';
import { guarded } from '../api/events.js';
import { platform } from '../platform/platform.js';
import { checkedEarlier, checkedState, storageFailure } from '../store/checks.js';
import { MemoryStore } from '../store/in-memory.js';
import type { EarlierStore, Store, Thumbnail } from '../store/store.js';
import { asThumbnail } from '../store/thumbnails.js';
import { join, type Membership, type WriterNews } from '../store/writer.js';
import type { HostClient } from '../worker/host-client.js';
import type { Picture } from '../worker/protocol.js';
import { Attached } from './attached.js';
import { bringOver } from './earlier.js';
import { Saver } from './saver.js';
import type { StorageStatus } from './types.js';
import { UNOPENED } from './unopened.js';

export interface KeeperOptions {
  host: HostClient;
  /** How many slots; undefined for the model's own number. A memory that was saved with more keeps them, unless it is to `shrink`. */
  slots: number | undefined;
  shrink: boolean;
  /** Makes a picture of a thumbnail, to see it again with another model; undefined: what other models remembered is left alone. */
  see: ((thumbnail: Thumbnail) => Promise<Picture>) | undefined;
  /** Undefined: nothing is to be kept. May reject. */
  openStore: (() => Promise<Store>) | undefined;
  /** Whether there may be other tabs. */
  hasTabs: boolean;
  autosaveMs: number;
  thumbnailBytes: number;
  onStatus(status: StorageStatus): void;
  /** The memory is another one: loaded, or changed by another tab. */
  onLoad(): void;
}

/** Where the memory is kept. */
type Place =
  /** In this page or process alone: nothing is to be kept, or nothing can be. */
  | { readonly kind: 'memory'; readonly store: MemoryStore }
  /** `member`: where there are other tabs. */
  | { readonly kind: 'store'; readonly store: Store; readonly member: Membership | undefined }
  /** In memory alone, because what the store holds cannot be read: only a new beginning may overwrite that. */
  | { readonly kind: 'spoiled'; readonly store: MemoryStore; readonly spoiled: Store; readonly member: Membership | undefined };

/** What the keeper does with it. */
type State =
  /** Saves every change. So does whoever has nothing to save to, and says that it is not durable. */
  | { readonly is: 'writer'; readonly place: Place }
  /** Saves nothing: another tab writes, whose news are followed until it goes; or the store can only be read. */
  | { readonly is: 'follower'; readonly place: Place }
  /** Begins nothing any more. Once what is under way has ended, the place is given back. */
  | { readonly is: 'closed'; readonly place: Place };

const LONGEST_RETRY_MS = 60_000;
/** After the end: a save that has not ended by then is not waited for. */
const PATIENCE_MS = 30_000;

export class MemoryKeeper {
  readonly attached: Attached;
  readonly #options: KeeperOptions;
  readonly #saver: Saver;
  #state: State = { is: 'writer', place: { kind: 'memory', store: new MemoryStore() } };
  #status: StorageStatus = UNOPENED;
  #opening: Promise<void> | undefined;
  #work: Promise<unknown> = Promise.resolve(); // saving and loading, one after the other
  #working = 0; // of these, and of opening
  #nextSave: Promise<void> | undefined; // waits for its turn
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #damaged = 0; // how much could not be read
  readonly #waiting = new Map<(error: BitMarError) => void, 'save' | 'else'>(); // calls that wait for these, and for what
  #patience: ReturnType<typeof setTimeout> | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.attached = new Attached(options.thumbnailBytes);
    this.#saver = new Saver(options.host, this.attached, (id) => this.#missesThumbnail(id));
  }

  get status(): StorageStatus {
    return this.#status;
  }

  get saved(): { sequence: number; bytes: number } {
    return this.#saver.kept;
  }

  /** Loads what was kept. Never rejects for the storage's sake: without it the memory goes on, and the status says so. */
  async open(): Promise<void> {
    if (!this.#closed) await this.#settled((this.#opening ??= this.#counted(() => this.#open())));
    if (this.#closed) throw disposed();
  }

  /** After every change that the engine has made. */
  changed(): void {
    if (this.#timer !== undefined || this.#state.is !== 'writer') return;
    const wait = Math.min(this.#options.autosaveMs * 2 ** this.#failures, LONGEST_RETRY_MS);
    this.#timer = setTimeout(() => this.save().catch(() => {}), wait); // the status tells
    if (this.#failures > 0) this.#timer.unref?.(); // node: a disk that stays full keeps no process alive
  }

  /** Resolves when all changes so far are durable. */
  async save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#closed) throw disposed();
    if (this.#state.is === 'follower') return;
    const saving = (this.#nextSave ??= this.#inTurn(() => {
      this.#nextSave = undefined;
      return this.#save();
    }));
    await this.#settled(saving, 'save');
  }

  /** Whether a change waits to be saved by itself. */
  get dirty(): boolean {
    return this.#timer !== undefined;
  }

  /** For a thumbnail of an episode that has just been written. Saved, where it is still of use when it is made. */
  expectThumbnail(id: number): (thumbnail: Thumbnail | undefined) => void {
    const attach = this.attached.expect(id);
    return (thumbnail) => {
      if (attach(thumbnail)) this.changed();
    };
  }

  /** Because somebody wants it: with the next save it goes from the old snapshot, and from what was set aside, too. */
  forget(id: number): void {
    this.attached.remove(id);
    this.#saver.forget(id);
  }

  async thumbnail(id: number): Promise<Thumbnail | undefined> {
    const unsaved = this.attached.unsaved(id);
    if (unsaved) return unsaved.thumbnail;
    try {
      const found = await this.#settled(Promise.resolve(this.#store.thumbnail(id)));
      if (!found) this.#missesThumbnail(id);
      return found && asThumbnail(found);
    } catch (error) {
      const failure = storageFailure(error);
      if (failure.code !== 'invalid_state') throw failure;
      this.#missesThumbnail(id);
      return undefined;
    }
  }

  /** Once for each that was kept and cannot be read. A reader does not know what the writer has dropped. */
  #missesThumbnail(id: number): void {
    if (this.#state.is === 'follower' || !this.attached.misses(id)) return;
    this.#tell({ damaged: (this.#damaged += 1) });
  }

  /** What other models remembered in the same place. */
  async earlier(): Promise<readonly EarlierStore[]> {
    return this.#settled(this.#earlier());
  }

  async #earlier(): Promise<readonly EarlierStore[]> {
    try {
      return checkedEarlier((await this.#store.earlier?.()) ?? []);
    } catch (error) {
      throw storageFailure(error);
    }
  }

  /** Everything is another memory now, after a `clear`, which wants nothing kept, or an import: what was kept goes with the next save. */
  beginAnew(forget: boolean): void {
    const { place } = this.#state;
    this.attached.clear();
    this.#saver.beginAnew(forget, place.kind === 'spoiled');
    if (place.kind !== 'spoiled') return;
    this.#moveTo({ kind: 'store', store: place.spoiled, member: place.member });
    this.#tell({ durable: this.#store.durable, error: null });
  }

  // ---- Opening ----

  async #open(): Promise<void> {
    const { host, slots, openStore, hasTabs } = this.#options;
    if (slots !== undefined) await host.memory('configure', { slots });
    if (!openStore) return;
    try {
      const store = await openStore();
      this.#moveTo({ kind: 'store', store, member: undefined }); // also after the end, which gives it back
      if (this.#closed) return;
      const { group } = store;
      if (hasTabs && group !== undefined) {
        const member = await join(group, {
          granted: () => void this.#inTurn(() => this.#promote()),
          news: (news) => void this.#inTurn(() => this.#follow(news)),
        });
        this.#moveTo({ kind: 'store', store, member });
        if (this.#closed) return;
        if (!member.writer) {
          this.#become('follower');
          this.#status = { ...this.#status, role: 'reader' }; // told once it is loaded
        }
      }
      const found = await this.#inTurn(() => this.#load());
      if (!found && this.#state.is === 'writer') await this.#inTurn(() => this.#bringOver());
      this.#tellStore();
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** What the store says of itself, once it is loaded. */
  #tellStore(): void {
    const { durable, exclusive = this.#member !== undefined, readOnly = false } = this.#store;
    this.#tell({ durable, exclusive, damaged: this.#damaged, error: null });
    if (!readOnly) return;
    this.#become('follower');
    this.#tell({ durable: false, error: new BitMarError('read_only', 'The storage can be read and not written') });
  }

  /** The engine's memory from the store, also from one that could not be read before. Whether anything was ever kept. */
  async #load(): Promise<boolean> {
    const { shrink, host } = this.#options;
    const { place } = this.#state;
    const state = checkedState(await keptIn(place).load());
    const { snapshot, frames, damaged = 0 } = state;
    const found = snapshot !== null || frames.length > 0;
    let report = { droppedSlots: 0, droppedFrames: 0, gaps: 0, sequence: 0 };
    if (found) report = await host.memory('load', { snapshot, frames, shrink });
    else await host.memory('clear', {});
    // A gap is what a damaged frame leaves, or one that is not there at all.
    const lost = damaged + report.droppedSlots + report.droppedFrames || report.gaps;
    this.#damaged = Math.max(this.#damaged, lost);
    this.#saver.loaded(state, report.sequence, lost);
    this.attached.load(state);
    if (place.kind === 'spoiled' && this.#state.place === place) this.#moveTo({ kind: 'store', store: place.spoiled, member: place.member });
    if (found) await this.#dropOrphans();
    this.#options.onLoad();
    return found;
  }

  /** A model that remembers nothing yet sees again what the last one before it remembered. All of it, or nothing. */
  async #bringOver(): Promise<void> {
    const { host, see, onLoad } = this.#options;
    if (!see) return;
    let latest: EarlierStore | undefined;
    try {
      [latest] = [...(await this.#earlier())].sort((a, b) => b.savedMs - a.savedMs);
    } catch (error) {
      return platform().report(error); // it says nothing about this model's own memory
    }
    if (!latest) return;
    try {
      for (const { id, caption, thumbnail } of await bringOver(latest, host, see)) this.attached.attach(id, caption, thumbnail);
      if (this.attached.captions.size + this.attached.budget.bytes === 0) return;
      this.changed();
      onLoad();
    } catch (error) {
      if (this.#closed) throw error;
      // It stays where it is, for another session, and `earlier` has it.
      await host.memory('clear', {});
      this.beginAnew(false);
    }
  }

  /** What belongs to episodes that were damaged. */
  async #dropOrphans(): Promise<void> {
    const episodes = await this.#options.host.memory('list', { limit: Infinity, before: Infinity });
    this.attached.keepOnly(new Set(episodes.map(({ id }) => id)));
  }

  /** Goes on in memory alone. What was kept stays as it is. */
  #giveUp(error: unknown): void {
    if (this.#closed) return;
    const failure = storageFailure(error);
    const spoiled = failure.code === 'invalid_state';
    const { place } = this.#state;
    const store = new MemoryStore();
    if (spoiled) {
      this.#saver.spoiled();
      this.#moveTo({ kind: 'spoiled', store, spoiled: keptIn(place), member: this.#member });
    } else {
      for (const each of storesOf(place)) told(() => each.close());
      this.#leave();
      this.#moveTo({ kind: 'memory', store });
      this.#become('writer');
    }
    this.#tell({ durable: false, exclusive: true, error: failure });
  }

  // ---- Saving ----

  async #save(): Promise<void> {
    if (this.#closed) throw disposed();
    const store = this.#store;
    if (store instanceof MemoryStore) {
      await store.append(new Uint8Array(), 0, this.attached.take());
      this.attached.saved();
      if (this.#status.error) throw this.#status.error;
      return;
    }
    try {
      const news = await this.#saver.save(store);
      if (!news) return;
      this.#failures = 0;
      this.#member?.tell(news);
      this.#tell({ durable: store.durable, error: null });
    } catch (error) {
      this.#failures += 1;
      if (this.#closed) throw error;
      const failure = storageFailure(error);
      this.#tell({ durable: false, error: failure });
      if (failure.code.startsWith('storage_')) this.changed(); // tries again later
      throw failure;
    }
  }

  // ---- Following the tab that writes ----

  /** Another tab has saved. */
  async #follow(news: WriterNews): Promise<void> {
    if (this.#state.is !== 'follower') return;
    try {
      if (!news.frame || news.from !== this.#saver.kept.sequence) {
        await this.#loadAgain();
        return;
      }
      const { droppedFrames, sequence } = await this.#options.host.memory('load', { snapshot: null, frames: [news.frame], shrink: false });
      if (droppedFrames > 0) {
        await this.#loadAgain();
        return;
      }
      this.#saver.follow(sequence);
      this.attached.follow(news);
      this.#options.onLoad();
    } catch {
      // The next news, or the role, loads everything again.
      this.#saver.follow(undefined);
    }
  }

  async #loadAgain(): Promise<void> {
    await this.#load();
    this.#tellStore();
  }

  /** The writer is gone, and nobody else writes from now on. */
  async #promote(): Promise<void> {
    if (this.#closed) return;
    try {
      const found = await this.#load(); // what the other did last may not have been told
      this.#become('writer');
      if (!found) await this.#bringOver();
      this.#tellStore();
    } catch (error) {
      this.#become('writer');
      this.#giveUp(error);
    }
  }

  // ---- The end ----

  /** What is under way ends first, and then gives back what it took: nobody else may write before. */
  close(): void {
    if (this.#closed) return;
    this.#state = { is: 'closed', place: this.#state.place };
    clearTimeout(this.#timer);
    const giveUp = (waitsFor: 'save' | 'else') => {
      for (const [reject, what] of this.#waiting) if (what === waitsFor) reject(disposed());
    };
    giveUp('else');
    if (this.#waiting.size > 0) this.#patience = setTimeout(giveUp, PATIENCE_MS, 'save');
    if (this.#working === 0) return this.#release();
    for (const store of storesOf(this.#state.place)) told(() => store.ending?.());
  }

  #release(): void {
    this.#leave();
    for (const store of storesOf(this.#state.place)) told(() => store.close());
  }

  // ---- States ----

  get #closed(): boolean {
    return this.#state.is === 'closed';
  }

  get #store(): Store {
    return this.#state.place.store;
  }

  get #member(): Membership | undefined {
    const { place } = this.#state;
    return place.kind === 'memory' ? undefined : place.member;
  }

  #moveTo(place: Place): void {
    this.#state = { is: this.#state.is, place };
  }

  /** The end is final. */
  #become(is: 'writer' | 'follower'): void {
    if (!this.#closed) this.#state = { is, place: this.#state.place };
  }

  /** Gives the role, or the claim to it, away. */
  #leave(): void {
    const { place } = this.#state;
    if (place.kind === 'memory') return;
    place.member?.leave();
    this.#moveTo({ ...place, member: undefined });
  }

  #tell(change: Partial<StorageStatus>): void {
    const before = this.#status;
    const role = this.#closed ? before.role : this.#state.is === 'follower' ? 'reader' : 'writer';
    const now = (this.#status = { ...before, ...change, role });
    const same = (['durable', 'exclusive', 'role', 'damaged'] as const).every((name) => now[name] === before[name]);
    if (!same || now.error?.code !== before.error?.code) this.#options.onStatus(now);
  }

  // ---- One after the other ----

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#counted(() => this.#work.then(work)); // counted while it waits, too
    this.#work = result.catch(() => {});
    return result;
  }

  async #counted<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#working += 1;
    try {
      return await work();
    } finally {
      this.#working -= 1;
      if (this.#closed && this.#working === 0) this.#release();
    }
  }

  /** What the work gives. At the end nobody waits any longer, but for a save, which may still tell how it ends. */
  #settled<Result>(work: Promise<Result>, what: 'save' | 'else' = 'else'): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(reject, what);
      work.then(resolve, reject).finally(() => {
        this.#waiting.delete(reject);
        if (this.#closed && this.#waiting.size === 0) clearTimeout(this.#patience);
      });
    });
  }
}

/** Where what was kept lies, readable or not. */
function keptIn(place: Place): Store {
  return place.kind === 'spoiled' ? place.spoiled : place.store;
}

function storesOf(place: Place): Store[] {
  return place.kind === 'spoiled' ? [place.store, place.spoiled] : [place.store];
}

/** A store of the caller's has nobody else to tell what goes wrong at its end. */
function told(end: () => unknown): void {
  guarded(end, (error) => platform().report(error));
}
