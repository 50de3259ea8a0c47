import type { EngineEpisode } from '../engine.js';
import { miniatureOf } from '../memory/miniature.js';
import type {
  EarlierMemory,
  Episode,
  EpisodePage,
  ListOptions,
  LoadReport,
  MemoryEvents,
  MemoryStats,
  RecallQuery,
  Recollection,
  Remembered,
  StorageStatus,
  TeachOptions,
  WriteOptions,
  Written,
} from '../memory/types.js';
import { platform } from '../platform/platform.js';
import type { Thumbnail } from '../store/store.js';
import { beforeSending } from '../worker/host-client.js';
import { checkFinite, checkImageOrText, checkOptions, checkText, checkTime, checkWhole, isObject, isSet, unlike } from './check.js';
import { aborted, BitMarError, isAborted, unlessAborted } from './errors.js';
import { SafeEventTarget } from './events.js';
import { MOST_LABEL_BYTES } from './limits.js';
import { demand } from './on-demand.js';
import type { Session } from './session.js';
import type { Source } from './types.js';

/**
 * What a model has seen and was taught: episodes in a fixed number of slots, kept on the device across sessions.
 *
 *     await model.memory.write(photo, { thumbnail: true });
 *     const { matches } = await model.memory.recall({ text: 'a dog on grass' });
 *
 * Nothing is opened before the first call. Events: 'change' (MemoryChangeEvent) and 'storage' (MemoryStorageEvent).
 */
export class Memory extends SafeEventTarget {
  readonly #session: Session;
  #whole: Promise<void> = Promise.resolve(); // ends with the last export, import or clear

  /** @internal */
  static of(session: Session): Memory {
    return new Memory(session);
  }

  private constructor(session: Session) {
    super();
    this.#session = session;
    session.onEvent = (event) => this.dispatchEvent(event);
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
    return this.#session.status;
  }

  /** Whether it was opened, so that captions read it. */
  get opened(): boolean {
    return this.#session.opened;
  }

  /** Loads what was kept. Every other call does so too. Without storage the memory begins empty, and `storage` says why. */
  async open(): Promise<StorageStatus> {
    await this.#session.open();
    return this.storage;
  }

  /** Captions a picture and remembers it. */
  async write(source: Source, options: WriteOptions = {}): Promise<Remembered> {
    checkOptions(options, 'write');
    if (options.label !== undefined) checkLabel(options.label);
    const { episode, ...caption } = await this.#session.captionAndWrite(source, options);
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
    const opened = () => unlessAborted(this.#session.open(), signal);
    const { attached: { captions } } = await (picture ? beforeSending(picture, opened) : opened());
    const { matches, recognised } = await this.#session.host.memory('recall', { picture, text: text ?? null, k, minScore }, signal);
    return { matches: matches.map((match) => ({ ...match, ...withCaption(match, captions) })), recognised };
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
      await this.#session.openToWrite(signal);
      return small;
    });
    const written = await this.#session.host.memory('teach', { picture, label, nowMs: now }, signal);
    await this.#session.wrote('teach', written, undefined, small);
    return written;
  }

  /** Counts a use, so that the episode does not grow stale. Rejects with 'invalid_argument' when there is no such episode. */
  async touch(id: number, options: { now?: number | undefined } = {}): Promise<void> {
    checkOptions(options, 'touch');
    const { now = Date.now() } = options;
    checkId(id);
    checkTime('now', now);
    await this.#session.openToWrite();
    await this.#session.host.memory('touch', { id, nowMs: now });
    this.#session.changed('touch', id);
  }

  /** Names an episode, or with null takes its name away. Rejects with 'invalid_argument' when there is no such episode. */
  async label(id: number, label: string | null): Promise<void> {
    checkId(id);
    if (label !== null) checkLabel(label);
    await this.#session.openToWrite();
    await this.#session.host.memory('label', { id, label });
    this.#session.changed('label', id);
  }

  /** False when there is no such episode. */
  async forget(id: number): Promise<boolean> {
    checkId(id);
    const keeper = await this.#session.openToWrite();
    const forgotten = await this.#session.host.memory('forget', { id });
    if (!forgotten) return false;
    keeper.forget(id);
    this.#session.changed('forget', id);
    return true;
  }

  /** Forgets everything, here and in the storage: what is kept is overwritten with the next save, which `flush` awaits. */
  async clear(): Promise<void> {
    const keeper = await this.#session.openToWrite();
    await this.#alone(undefined, async () => {
      await this.#session.host.memory('clear', {});
      keeper.beginAnew(true);
      this.#session.changed('clear', null);
    });
  }

  /** The episodes by time of writing, the newest first. */
  async list(options: ListOptions = {}): Promise<EpisodePage> {
    checkOptions(options, 'list');
    const { limit = 50, cursor = null } = options;
    checkWhole('limit', limit, 1, Number.MAX_SAFE_INTEGER - 1);
    if (cursor !== null && !Number.isSafeInteger(cursor)) throw unlike('cursor', 'that of an earlier list()', cursor);
    const { attached: { captions } } = await this.#session.open();
    const found = await this.#session.host.memory('list', { limit: limit + 1, before: cursor ?? Infinity });
    const episodes = found.slice(0, limit).map((episode) => withCaption(episode, captions));
    return { episodes, cursor: found.length > limit ? episodes.at(-1)!.id : null };
  }

  /** The thumbnail of an episode, as a file; undefined when it has none. */
  async thumbnail(id: number): Promise<Blob | undefined> {
    checkId(id);
    const keeper = await this.#session.open();
    const found = await keeper.thumbnail(id);
    return found && new Blob([found.bytes as Uint8Array<ArrayBuffer>], { type: found.type });
  }

  /** Everything in one file: to keep, or to take to another device with the same model. */
  async export(options: { signal?: AbortSignal | undefined } = {}): Promise<Blob> {
    checkOptions(options, 'export');
    const { signal } = options;
    if (isAborted(signal)) throw aborted(signal);
    const { writeArchive } = await demand('memory');
    const keeper = await unlessAborted(this.#session.open(), signal);
    return this.#alone(signal, async () => {
      // Both at once: nothing changes in between.
      const [{ bytes }, episodes] = await Promise.all([
        this.#session.host.memory('snapshot', {}, signal),
        this.#session.host.memory('list', { limit: Infinity, before: Infinity }, signal),
      ]);
      const all = new Map(keeper.attached.captions);
      const captions = new Map<number, string>();
      const thumbnails = new Map<number, Thumbnail>();
      for (const { id } of episodes) {
        const caption = all.get(id);
        if (caption !== undefined) captions.set(id, caption);
        const thumbnail = await unlessAborted(keeper.thumbnail(id), signal);
        if (thumbnail) thumbnails.set(id, thumbnail);
      }
      return writeArchive({ model: this.#session.model ?? null, snapshot: bytes, captions, thumbnails });
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
    const { model } = this.#session;
    if (archive.model !== null && model !== undefined && archive.model !== model) {
      throw new BitMarError('invalid_state', 'This memory belongs to another model');
    }
    const keeper = await this.#session.openToWrite(signal);
    return this.#alone(signal, async () => {
      const adopting = this.#session.host.memory('adopt', { snapshot, shrink }, signal);
      const listing = this.#session.host.memory('list', { limit: Infinity, before: Infinity }); // right behind it
      listing.catch(() => {}); // where the first fails
      const { loaded, droppedSlots, droppedFrames, leftOut } = await adopting;
      const episodes = await listing;
      keeper.beginAnew(false);
      const before = new Map([...ids].map(([old, now]) => [now, old]));
      for (const { id } of episodes.reverse()) {
        const old = before.get(id) ?? id;
        keeper.attached.attach(id, archive.captions.get(old), archive.thumbnails.get(old));
      }
      this.#session.changed('import', null);
      return { loaded, droppedSlots, droppedFrames, leftOut };
    });
  }

  /**
   * Resolves when every change so far is durable: its transaction is complete and on the disk. Rejects with a code
   * `storage_...` when it is not, and the memory itself goes on; with 'disposed' once the model is disposed of. With `persist: false`, and in reading tabs, there is nothing to do.
   */
  async flush(): Promise<void> {
    const keeper = await this.#session.open();
    await keeper.save();
  }

  /** How full it is, and how much of it is saved. */
  async stats(): Promise<MemoryStats> {
    const keeper = await this.#session.open();
    const stats = await this.#session.host.memory('stats', {});
    const { sequence, bytes } = keeper.saved;
    return {
      ...stats,
      slotsAsked: this.#session.settings.slots ?? null,
      savedSequence: sequence,
      savedBytes: bytes,
      damaged: this.storage.damaged,
      thumbnailBytes: keeper.attached.budget.bytes,
    };
  }

  /** What other models remembered in the same folder or browser: to be exported or deleted. */
  async earlier(): Promise<readonly EarlierMemory[]> {
    const keeper = await this.#session.open();
    const { describe } = await demand('memory');
    const found: EarlierMemory[] = [];
    for (const each of await keeper.earlier()) {
      const memory = await describe(each, this.#session.host);
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
}

function withCaption({ id, createdMs, lastUsedMs, uses, strength, label }: EngineEpisode, captions: ReadonlyMap<number, string>): Episode {
  return { id, createdMs, lastUsedMs, uses, strength, label, caption: captions.get(id) ?? null };
}

function checkId(id: number): void {
  if (!Number.isSafeInteger(id)) throw unlike('The id of an episode', 'a whole number', id);
}

function checkLabel(label: string): void {
  if (typeof label !== 'string' || label.trim() === '') throw unlike('A label', 'a string that is not empty', label);
  checkText('A label', label, MOST_LABEL_BYTES);
}
