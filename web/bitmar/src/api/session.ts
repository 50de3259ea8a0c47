// What a loaded model owns: its host, and the keeper of its memory, which few pages ever need. BitMar and Memory are what a caller sees of it.

import type { MemoryKeeper } from '../memory/keeper.js';
import { miniatureOf, type Miniature } from '../memory/miniature.js';
import type { MemorySettings } from '../memory/options.js';
import { MemoryChangeEvent, MemoryStorageEvent, type StorageStatus, type WriteOptions, type Written } from '../memory/types.js';
import { UNOPENED } from '../memory/unopened.js';
import { platform } from '../platform/platform.js';
import { beforeSending, type HostClient } from '../worker/host-client.js';
import { checkText, checkTime } from './check.js';
import { engineExplainOptions, engineOptions } from './engine-options.js';
import { aborted, BitMarError, disposed, isAborted, unlessAborted } from './errors.js';
import { demand } from './on-demand.js';
import type { Caption, CaptionOptions, ExplainOptions, Explanation, Source } from './types.js';

/** The keeper comes with the first call that needs it. */
type Keeping =
  | { readonly is: 'unopened' }
  | { readonly is: 'loading'; readonly keeper: Promise<MemoryKeeper> }
  | { readonly is: 'loaded'; readonly keeper: MemoryKeeper }
  | { readonly is: 'closed'; readonly keeper: MemoryKeeper | undefined };

export class Session {
  readonly host: HostClient;
  /** The hash of the model's files; undefined where the platform cannot tell. */
  readonly model: string | undefined;
  readonly settings: MemorySettings;
  /** What hears the memory's events. */
  onEvent: (event: MemoryChangeEvent | MemoryStorageEvent) => void = () => {};
  readonly #leave: () => void;
  #keeping: Keeping = { is: 'unopened' };

  constructor(host: HostClient, model: string | undefined, settings: MemorySettings) {
    this.host = host;
    this.model = model;
    this.settings = settings;
    this.#leave = platform().onLeave(() => {
      if (this.#keeper?.dirty) this.#keeper.save().catch(() => {}); // the status tells
    });
  }

  // ---- The memory ----

  get status(): StorageStatus {
    return this.#keeper?.status ?? UNOPENED;
  }

  /** Whether something asked for the memory, so that captions read it. */
  get opened(): boolean {
    return 'keeper' in this.#keeping && this.#keeping.keeper !== undefined;
  }

  /** With what was kept. */
  async open(): Promise<MemoryKeeper> {
    if (this.#keeping.is === 'unopened') this.#keeping = { is: 'loading', keeper: this.#load() };
    const keeper = await this.#keeping.keeper;
    if (!keeper) throw disposed();
    await keeper.open();
    return keeper;
  }

  /** Rejects where somebody else writes. */
  async openToWrite(signal?: AbortSignal): Promise<MemoryKeeper> {
    const keeper = await unlessAborted(this.open(), signal);
    if (this.status.role === 'writer') return keeper;
    throw this.status.error ?? new BitMarError('read_only', 'Another tab, or another model of this page, writes this memory; close it to write here');
  }

  /** After every change that the engine has made. */
  changed(change: MemoryChangeEvent['change'], id: number | null): void {
    this.#keeper!.changed();
    this.onEvent(new MemoryChangeEvent(change, id));
  }

  /** After an episode was written. */
  async wrote(change: 'write' | 'teach', { id, outcome, replacedId }: Written, caption: string | undefined, small: Miniature): Promise<void> {
    const keeper = this.#keeper!;
    if (replacedId !== null) keeper.attached.remove(replacedId);
    const known = outcome === 'blended'; // it keeps its own caption and thumbnail
    keeper.attached.attach(id, known && keeper.attached.captions.has(id) ? undefined : caption, undefined);
    this.changed(change, id);
    if (!small || (known && keeper.attached.budget.has(id))) return;
    const attach = keeper.expectThumbnail(id);
    attach(await small().catch(() => undefined)); // an episode without is better than none
  }

  get #keeper(): MemoryKeeper | undefined {
    const { is } = this.#keeping;
    return is === 'loaded' || is === 'closed' ? this.#keeping.keeper : undefined;
  }

  async #load(): Promise<MemoryKeeper> {
    try {
      const { MemoryKeeper, keeperOptions } = await demand('memory');
      if (this.#keeping.is === 'closed') throw disposed();
      const keeper = new MemoryKeeper({
        host: this.host,
        ...keeperOptions(this.settings, this.model),
        onStatus: (status) => this.onEvent(new MemoryStorageEvent(status)),
        onLoad: () => this.onEvent(new MemoryChangeEvent('load')),
      });
      this.#keeping = { is: 'loaded', keeper };
      return keeper;
    } catch (error) {
      if (this.#keeping.is === 'loading') this.#keeping = { is: 'unopened' }; // the next call tries again
      throw error;
    }
  }

  // ---- Captions ----

  /** An episode is written where the options say so and nobody else writes. */
  caption(source: Source, options: CaptionOptions): Promise<Caption> {
    return this.#caption(source, options, async () => {
      if (options.readMemory || options.writeMemory) await unlessAborted(this.open(), options.signal ?? undefined);
      return options.writeMemory === true && this.status.role === 'writer';
    });
  }

  /** An episode is written, or the call rejects. */
  captionAndWrite(source: Source, options: WriteOptions): Promise<Caption> {
    return this.#caption(source, options, () => this.openToWrite(options.signal).then(() => true));
  }

  /** `prepare` makes the memory ready and says whether the episode is to be written. */
  async #caption(source: Source, options: CaptionOptions & { label?: string | undefined }, prepare: () => Promise<boolean>): Promise<Caption> {
    const { signal, onToken, now = Date.now(), label = null, thumbnail } = options;
    if (isAborted(signal)) throw aborted(signal);
    const checked = engineOptions(options);
    checkTime('now', now);
    const picture = await platform().capture(source, signal);
    const { write, small } = await beforeSending(picture, async () => {
      const write = await prepare();
      return { write, small: write ? miniatureOf(picture, thumbnail) : undefined }; // before the worker takes the picture
    });
    const readMemory = options.readMemory ?? this.opened;
    const { caption, written } = await this.host.caption(picture, { ...checked, readMemory }, write ? { nowMs: now, label } : null, onToken, signal);
    if (!written) return caption;
    await this.wrote('write', written, caption.text, small);
    return { ...caption, episode: written };
  }

  async explain(source: Source, text: string, options: ExplainOptions): Promise<Explanation> {
    const { signal, readMemory } = options;
    if (isAborted(signal)) throw aborted(signal);
    checkText('text', text);
    const checked = engineExplainOptions(options);
    const picture = await platform().capture(source, signal);
    if (readMemory) await beforeSending(picture, () => unlessAborted(this.open(), signal ?? undefined));
    return this.host.memory('explain', { picture, text, options: { ...checked, readMemory: readMemory ?? this.opened } }, signal);
  }

  /** Of the memory, what waits to be saved is lost. */
  close(): void {
    const keeper = this.#keeper;
    this.#keeping = { is: 'closed', keeper };
    try {
      this.#leave();
      keeper?.close();
    } finally {
      this.host.close(); // whatever a store of the caller's throws
    }
  }
}
