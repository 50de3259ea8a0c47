import { checkBoolean, checkFinite, checkFunction, checkImageOrText, checkNumber, checkOneOf, checkOptions, checkText, checkTime, checkWhole, isObject, isSet, LONGEST_TIMER_MS, MOST_LABEL_BYTES, unlike, wrong } from './check.js';
import type { EngineEpisode } from './engine.js';
import { aborted, BitMarError, isAborted, unlessAborted } from './errors.js';
import { SafeEventTarget } from './events.js';
import { beforeSending, type HostClient } from './host-client.js';
import type { KeeperOptions, MemoryKeeper } from './memory-keeper.js';
import {
  MemoryChangeEvent,
  MemoryStorageEvent,
  type EarlierMemory,
  type Episode,
  type EpisodePage,
  type ListOptions,
  type LoadReport,
  type MemoryEvents,
  type MemoryOptions,
  type MemoryStats,
  type RecallQuery,
  type Recollection,
  type Remembered,
  type StorageStatus,
  type TeachOptions,
  type WriteOptions,
  type Written,
} from './memory-types.js';
import { UNOPENED } from './memory-unopened.js';
import { demand } from './on-demand.js';
import { platform } from './platform.js';
import type { Picture } from './protocol.js';
import type { Store, Thumbnail } from './store.js';
import { imageType, MOST_THUMBNAIL_BYTES } from './thumbnails.js';
import type { Caption, Source } from './types.js';
import { canChooseWriter, NO_LOCKS } from './writer.js';

const AUTOSAVE_MS = 1000;
const THUMBNAIL_BYTES = 16 << 20;

/**
 * Before anything is loaded.
 * @internal
 */
export function checkMemoryOptions(options: MemoryOptions): void {
  if (!isObject(options)) throw unlike('memory', 'an object', options);
  const { slots, shrink, policy = 'gated', persist, folder, store, earlier = 'embed', autosaveMs = AUTOSAVE_MS, thumbnailBytes = THUMBNAIL_BYTES }: MemoryOptions = options;
  if (slots !== undefined) checkWhole('memory.slots', slots, 1, 1 << 16);
  if (isSet(shrink)) checkBoolean('memory.shrink', shrink);
  checkOneOf('memory.policy', policy, ['gated', 'additive']);
  if (isSet(persist)) checkBoolean('memory.persist', persist);
  if (folder !== undefined && (typeof folder !== 'string' || folder === '')) throw unlike('memory.folder', 'a path', folder);
  if (store !== undefined) checkFunction('memory.store', store);
  checkOneOf('memory.earlier', earlier, ['embed', 'leave']);
  checkNumber('memory.autosaveMs', autosaveMs, 0, LONGEST_TIMER_MS);
  checkNumber('memory.thumbnailBytes', thumbnailBytes, 0, Number.MAX_SAFE_INTEGER);
}

/**
 * What the memory needs of its model.
 * @internal
 */
export interface MemoryParts {
  host: HostClient;
  /** The hash of the model's files; undefined where the platform cannot tell. */
  model: string | undefined;
  /** Makes a caption of the picture and, after `prepare`, which may refuse, writes the episode. */
  captionAndWrite(source: Source, options: WriteOptions, prepare: () => Promise<void>): Promise<Caption>;
}

/**
 * What a model has seen and was taught: episodes in a fixed number of slots, kept on the device across sessions.
 *
 *     await model.memory.write(photo, { thumbnail: true });
 *     const { matches } = await model.memory.recall({ text: 'a dog on grass' });
 *
 * Nothing is opened before the first call. Events: 'change' (MemoryChangeEvent) and 'storage' (MemoryStorageEvent).
 */
export class Memory extends SafeEventTarget {
  readonly #parts: MemoryParts;
  readonly #options: KeeperOptions;
  #made: MemoryKeeper | undefined;
  #making: Promise<MemoryKeeper> | undefined;
  #closed = false;
  readonly #slotsAsked: number | null;
  readonly #leave: () => void;
  #whole: Promise<void> = Promise.resolve(); // ends with the last export, import or clear

  /** @internal */
  static of(parts: MemoryParts, options: MemoryOptions): Memory {
    return new Memory(parts, options);
  }

  private constructor(parts: MemoryParts, options: MemoryOptions) {
    super();
    this.#parts = parts;
    const { slots, earlier = 'embed', autosaveMs = AUTOSAVE_MS, thumbnailBytes = THUMBNAIL_BYTES } = options;
    this.#slotsAsked = slots ?? null;
    this.#options = {
      host: parts.host,
      slots,
      shrink: options.shrink ?? false,
      see: earlier === 'embed' ? async ({ type, bytes }) => platform().capture(new Blob([bytes as Uint8Array<ArrayBuffer>], { type })) : undefined,
      autosaveMs,
      thumbnailBytes,
      openStore: storeOpener(options, parts.model),
      hasTabs: platform().hasTabs,
      onStatus: (status) => this.dispatchEvent(new MemoryStorageEvent(status)),
      onLoad: () => this.dispatchEvent(new MemoryChangeEvent('load')),
    };
    this.#leave = platform().onLeave(() => {
      if (this.#made?.dirty) this.#made.save().catch(() => {}); // the status tells
    });
  }

  /** What the listener throws is reported and ends nothing. */
  override addEventListener<Type extends keyof MemoryEvents>(
    type: Type,
    listener: ((event: MemoryEvents[Type]) => void) | { handleEvent(event: MemoryEvents[Type]): void } | null,
    options?: boolean | { once?: boolean; capture?: boolean; passive?: boolean; signal?: AbortSignal },
  ): void {
    super.addEventListener(type, listener as Parameters<EventTarget['addEventListener']>[1], options);
  }

  /** As of any event target. */
  override removeEventListener<Type extends keyof MemoryEvents>(
    type: Type,
    listener: ((event: MemoryEvents[Type]) => void) | { handleEvent(event: MemoryEvents[Type]): void } | null,
    options?: boolean | { capture?: boolean },
  ): void {
    super.removeEventListener(type, listener as Parameters<EventTarget['removeEventListener']>[1], options);
  }

  /** Where the memory lives at this moment; changes come as 'storage' events. */
  get storage(): StorageStatus {
    return this.#made?.status ?? UNOPENED;
  }

  /** Whether it was opened, so that captions read it. */
  get opened(): boolean {
    return this.#making !== undefined;
  }

  /** Loads what was kept. Every other call does so too. Without storage the memory begins empty, and `storage` says why. */
  async open(): Promise<StorageStatus> {
    await this.#open();
    return this.storage;
  }

  /** Captions a picture and remembers it. */
  async write(source: Source, options: WriteOptions = {}): Promise<Remembered> {
    checkOptions(options, 'write');
    if (options.label !== undefined) checkLabel(options.label);
    const { episode, ...caption } = await this.#parts.captionAndWrite(source, options, () => this.#openToWrite(options.signal));
    return { ...episode!, caption };
  }

  /** What resembles an image, fits a text, or both; and what it is called, where somebody taught that. Changes nothing. */
  async recall(query: RecallQuery<Source>): Promise<Recollection> {
    checkOptions(query, 'recall');
    const { image, text, k = 10, minScore = -1, signal } = query;
    if (isAborted(signal)) throw aborted(signal);
    checkImageOrText('recall', image, text);
    checkWhole('k', k, 1, Number.MAX_SAFE_INTEGER);
    checkFinite('minScore', minScore);
    const picture = isSet(image) ? await platform().capture(image!, signal) : null;
    const opened = () => unlessAborted(this.#open(), signal);
    if (picture) await beforeSending(picture, opened);
    else await opened();
    const { matches, recognised } = await this.#parts.host.memory('recall', { picture, text: text ?? null, k, minScore }, signal);
    return { matches: matches.map((match) => ({ ...match, ...this.#withCaption(match) })), recognised };
  }

  /** Gives what a picture shows a name. Several pictures of the same make the name surer. */
  async teach(source: Source, label: string, options: TeachOptions = {}): Promise<Written> {
    checkOptions(options, 'teach');
    const { signal, thumbnail, now = Date.now() } = options;
    if (isAborted(signal)) throw aborted(signal);
    checkLabel(label);
    checkTime('now', now);
    const picture = await platform().capture(source, signal);
    const small = await beforeSending(picture, async () => {
      const small = miniatureOf(picture, thumbnail);
      await this.#openToWrite(signal);
      return small;
    });
    const written = await this.#parts.host.memory('teach', { picture, label, nowMs: now }, signal);
    await this.#wrote('teach', written, undefined, small);
    return written;
  }

  /** Counts a use, so that the episode does not grow stale. Rejects with 'invalid_argument' when there is no such episode. */
  async touch(id: number, options: { now?: number | undefined } = {}): Promise<void> {
    checkOptions(options, 'touch');
    const { now = Date.now() } = options;
    checkId(id);
    checkTime('now', now);
    await this.#openToWrite();
    await this.#parts.host.memory('touch', { id, nowMs: now });
    this.#changed('touch', id);
  }

  /** Names an episode, or with null takes its name away. Rejects with 'invalid_argument' when there is no such episode. */
  async label(id: number, label: string | null): Promise<void> {
    checkId(id);
    if (label !== null) checkLabel(label);
    await this.#openToWrite();
    await this.#parts.host.memory('label', { id, label });
    this.#changed('label', id);
  }

  /** False when there is no such episode. */
  async forget(id: number): Promise<boolean> {
    checkId(id);
    await this.#openToWrite();
    const forgotten = await this.#parts.host.memory('forget', { id });
    if (!forgotten) return false;
    this.#keeper.forget(id);
    this.#changed('forget', id);
    return true;
  }

  /** Forgets everything, here and in the storage: what is kept is overwritten with the next save, which `flush` awaits. */
  async clear(): Promise<void> {
    await this.#openToWrite();
    await this.#alone(undefined, async () => {
      await this.#parts.host.memory('clear', {});
      this.#keeper.beginAnew(true);
      this.#changed('clear', null);
    });
  }

  /** The episodes by time of writing, the newest first. */
  async list(options: ListOptions = {}): Promise<EpisodePage> {
    checkOptions(options, 'list');
    const { limit = 50, cursor = null } = options;
    checkWhole('limit', limit, 1, Number.MAX_SAFE_INTEGER - 1);
    if (cursor !== null && !Number.isSafeInteger(cursor)) throw unlike('cursor', 'that of an earlier list()', cursor);
    await this.#open();
    const found = await this.#parts.host.memory('list', { limit: limit + 1, before: cursor ?? Infinity });
    const episodes = found.slice(0, limit).map((episode) => this.#withCaption(episode));
    return { episodes, cursor: found.length > limit ? episodes.at(-1)!.id : null };
  }

  /** The thumbnail of an episode, as a file; undefined when it has none. */
  async thumbnail(id: number): Promise<Blob | undefined> {
    checkId(id);
    await this.#open();
    const found = await this.#keeper.thumbnail(id);
    return found && new Blob([found.bytes as Uint8Array<ArrayBuffer>], { type: found.type });
  }

  /** Everything in one file: to keep, or to take to another device with the same model. */
  async export(options: { signal?: AbortSignal | undefined } = {}): Promise<Blob> {
    checkOptions(options, 'export');
    const { signal } = options;
    if (isAborted(signal)) throw aborted(signal);
    const { writeArchive } = await demand('memory');
    await unlessAborted(this.#open(), signal);
    return this.#alone(signal, async () => {
      // Both at once: nothing changes in between.
      const [{ bytes }, episodes] = await Promise.all([
        this.#parts.host.memory('snapshot', {}, signal),
        this.#parts.host.memory('list', { limit: Infinity, before: Infinity }, signal),
      ]);
      const all = new Map(this.#keeper.captions);
      const captions = new Map<number, string>();
      const thumbnails = new Map<number, Thumbnail>();
      for (const { id } of episodes) {
        const caption = all.get(id);
        if (caption !== undefined) captions.set(id, caption);
        const thumbnail = await unlessAborted(this.#keeper.thumbnail(id), signal);
        if (thumbnail) thumbnails.set(id, thumbnail);
      }
      return writeArchive({ model: this.#parts.model ?? null, snapshot: bytes, captions, thumbnails });
    });
  }

  /** What is about the memory as a whole, one after the other: the engine, the captions and the thumbnails do not change all at once. */
  async #alone<Result>(signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
    const before = this.#whole;
    let ended = () => {};
    this.#whole = new Promise((resolve) => (ended = () => resolve()));
    try {
      await unlessAborted(before, signal);
      return await work();
    } finally {
      void before.then(ended); // also where this one was aborted while it waited
    }
  }

  /**
   * Puts an exported memory in the place of this one: all of it, or, where anything about the file is wrong, nothing. The memory grows to hold
   * it; with `shrink` it keeps its slots, and the weakest episodes are left out.
   */
  async import(file: Blob, options: { signal?: AbortSignal | undefined; shrink?: boolean | undefined } = {}): Promise<LoadReport> {
    checkOptions(options, 'import');
    if (!isObject(file) || typeof file.slice !== 'function') throw unlike('What is imported', 'a Blob', file);
    const { signal } = options;
    const shrink = options.shrink ?? false;
    if (isAborted(signal)) throw aborted(signal);
    const { readArchive, renumbered } = await demand('memory');
    const archive = await readArchive(file, signal);
    const { snapshot, ids } = renumbered(archive.snapshot) ?? { snapshot: archive.snapshot, ids: new Map<number, number>() };
    const { model } = this.#parts;
    if (archive.model !== null && model !== undefined && archive.model !== model) {
      throw new BitMarError('invalid_state', 'This memory belongs to another model');
    }
    await this.#openToWrite(signal);
    return this.#alone(signal, async () => {
      const adopting = this.#parts.host.memory('adopt', { snapshot, shrink }, signal);
      const listing = this.#parts.host.memory('list', { limit: Infinity, before: Infinity }); // right behind it
      listing.catch(() => {}); // where the first fails
      const { loaded, droppedSlots, droppedFrames, leftOut } = await adopting;
      const episodes = await listing;
      this.#keeper.beginAnew(false);
      const before = new Map([...ids].map(([old, now]) => [now, old]));
      for (const { id } of episodes.reverse()) {
        const old = before.get(id) ?? id;
        this.#keeper.attach(id, archive.captions.get(old), archive.thumbnails.get(old));
      }
      this.#changed('import', null);
      return { loaded, droppedSlots, droppedFrames, leftOut };
    });
  }

  /**
   * Resolves when every change so far is durable: its transaction is complete and on the disk. Rejects with a code
   * `storage_...` when it is not, and the memory itself goes on; with 'disposed' once the model is disposed of. With `persist: false`, and in reading tabs, there is nothing to do.
   */
  async flush(): Promise<void> {
    await this.#open();
    await this.#keeper.save();
  }

  /** How full it is, and how much of it is saved. */
  async stats(): Promise<MemoryStats> {
    await this.#open();
    const stats = await this.#parts.host.memory('stats', {});
    const { sequence, bytes } = this.#keeper.saved;
    return {
      ...stats,
      slotsAsked: this.#slotsAsked,
      savedSequence: sequence,
      savedBytes: bytes,
      damaged: this.storage.damaged,
      thumbnailBytes: this.#keeper.budget.bytes,
    };
  }

  /** What other models remembered in the same folder or browser: to be exported or deleted. */
  async earlier(): Promise<readonly EarlierMemory[]> {
    await this.#open();
    const { describe } = await demand('memory');
    const found: EarlierMemory[] = [];
    for (const each of await this.#keeper.earlier()) {
      const memory = await describe(each, this.#parts.host);
      // What this model took over from it is kept before it goes.
      found.push({ ...memory, delete: () => this.flush().then(() => memory.delete()) });
    }
    return found;
  }

  /** Asks the browser never to clear the storage by itself. Whether it agreed; true in node. Call it after a click. */
  async persist(): Promise<boolean> {
    if (!platform().hasTabs) return true;
    return (await navigator.storage?.persist?.()) ?? false;
  }

  /**
   * After a caption that was remembered.
   * @internal
   */
  async wrote(written: Written, caption: string, small: Miniature): Promise<void> {
    await this.#wrote('write', written, caption, small);
  }

  /** @internal */
  close(): void {
    this.#leave();
    this.#closed = true;
    this.#made?.close();
  }

  /** What every call comes through. Most pages remember nothing, and never load what keeps it. */
  async #open(): Promise<void> {
    this.#making ??= demand('memory').then(({ MemoryKeeper }) => (this.#made = new MemoryKeeper(this.#options)));
    try {
      await this.#making;
    } catch (error) {
      this.#making = undefined; // the next call tries again
      throw error;
    }
    if (this.#closed) this.#keeper.close();
    await this.#keeper.open();
  }

  /** Once it is open. */
  get #keeper(): MemoryKeeper {
    return this.#made!;
  }

  async #openToWrite(signal?: AbortSignal): Promise<void> {
    await unlessAborted(this.#open(), signal);
    if (this.storage.role === 'writer') return;
    throw this.storage.error ?? new BitMarError('read_only', 'Another tab, or another model of this page, writes this memory; close it to write here');
  }

  async #wrote(change: 'write' | 'teach', written: Written, caption: string | undefined, small: Miniature): Promise<void> {
    const { id, outcome, replacedId } = written;
    if (replacedId !== null) this.#keeper.remove(replacedId);
    const known = outcome === 'blended'; // it keeps its own caption and thumbnail
    this.#keeper.attach(id, known && this.#keeper.captions.has(id) ? undefined : caption, undefined);
    this.#changed(change, id);
    if (!small || (known && this.#keeper.budget.has(id))) return;
    const attach = this.#keeper.expectThumbnail(id);
    attach(await small().catch(() => undefined)); // an episode without is better than none
  }

  #changed(change: MemoryChangeEvent['change'], id: number | null): void {
    this.#keeper.changed();
    this.dispatchEvent(new MemoryChangeEvent(change, id));
  }

  #withCaption(episode: EngineEpisode): Episode {
    const { id, createdMs, lastUsedMs, uses, strength, label } = episode;
    return { id, createdMs, lastUsedMs, uses, strength, label, caption: this.#keeper.captions.get(id) ?? null };
  }
}

/**
 * Makes a thumbnail when it is needed.
 * @internal
 */
export type Miniature = (() => Promise<Thumbnail>) | undefined;

/**
 * What the option `thumbnail` asks for. To be called before the picture is handed to the worker.
 * @internal
 */
export function miniatureOf(picture: Picture, thumbnail: unknown): Miniature {
  if (thumbnail === undefined || thumbnail === false) return undefined;
  if (thumbnail === true) return platform().miniature(picture);
  if (!(thumbnail instanceof Blob)) throw unlike('thumbnail', 'true or a Blob', thumbnail);
  const { type, size } = thumbnail;
  if (type !== '' && imageType(type) === undefined) throw unlike('The type of a thumbnail', 'that of an image', type);
  if (size > MOST_THUMBNAIL_BYTES) throw wrong(`A thumbnail may have ${MOST_THUMBNAIL_BYTES} bytes, not ${size}`);
  return async () => ({ type, bytes: new Uint8Array(await thumbnail.arrayBuffer()) });
}

/** Undefined where nothing is to be kept. What it throws is why nothing can be. */
function storeOpener(options: MemoryOptions, model: string | undefined): (() => Promise<Store>) | undefined {
  if (options.persist === false) return undefined;
  const custom = options.store;
  const open = custom ? async (hash: string) => checkedStore(await custom(hash)) : platform().defaultStore(options);
  if (!open) return undefined;
  return async () => {
    if (model === undefined || (!custom && platform().hasTabs && !canChooseWriter())) throw new BitMarError('storage_unavailable', NO_LOCKS);
    return open(model);
  };
}

/** What a function of the caller's has returned. */
function checkedStore(store: unknown): Store {
  const needed = ['load', 'append', 'replace', 'thumbnail', 'close'];
  if (!isObject(store)) throw unlike('What memory.store returns', 'a store', store);
  for (const name of needed) checkFunction(`${name} of the store that memory.store returns`, store[name]);
  return store as unknown as Store;
}

function checkId(id: number): void {
  if (!Number.isSafeInteger(id)) throw unlike('The id of an episode', 'a whole number', id);
}

function checkLabel(label: string): void {
  if (typeof label !== 'string' || label.trim() === '') throw unlike('A label', 'a string that is not empty', label);
  checkText('A label', label, MOST_LABEL_BYTES);
}
