// A memory in IndexedDB. Every connection may be lost at any moment (other versions, backgrounding, cleared site data): each
// call takes the one there is, or opens another.

import { deleteDB, openDB, type DBSchema, type IDBPDatabase, type IDBPTransaction } from 'idb';

import { BitMarError, messageOf } from '../api/errors.js';
import { eraseRecords } from '../memory/engine-bytes.js';
import { baseAddress } from '../platform/address.js';
import { crc32 } from './checksum.js';
import type { Attachments, EarlierStore, Store, StoredState, Thumbnail } from './store.js';

/** The engine's bytes, and the number of the last change in them. */
interface Piece {
  bytes: Uint8Array;
  sequence: number;
}

interface Snapshot extends Piece {
  generation: string;
  /** The folder of the page that wrote it: other pages of one origin may have other memories. Missing in those of earlier versions. */
  place?: string | undefined;
}

/** With a checksum of its episode's id and of itself; earlier versions had the text alone. */
type StoredCaption = string | { text: string; sum: number };
/** Of its episode's id, its type and its bytes; missing in those of earlier versions. */
type StoredThumbnail = Thumbnail & { sum?: number };

/** A whole memory of which something could not be read. */
interface Aside {
  state: unknown;
  journal: unknown[];
  captions: [id: IDBValidKey, text: unknown][];
  thumbnails: [id: IDBValidKey, thumbnail: unknown][];
}

/**
 * Version 1. `state` has one record under the key 'snapshot', and what was set aside under 'aside-1' and so on; `journal` has the frames
 * under 0, 1, 2, ...
 */
interface Schema extends DBSchema {
  state: { key: string; value: Snapshot | Aside };
  journal: { key: number; value: Piece };
  captions: { key: number; value: StoredCaption };
  thumbnails: { key: number; value: StoredThumbnail };
}

const VERSION = 1;
const NAME = 'bitmar-memory-';
const MODEL_NAME = /^bitmar-memory-([0-9a-f]{64})$/;
const STORES = ['state', 'journal', 'captions', 'thumbnails'] as const;
/** Some browsers never answer when their database process is stuck, or while another page keeps a deletion waiting. */
const PATIENCE_MS = 10_000;

type Database = IDBPDatabase<Schema>;
type Transaction = IDBPTransaction<Schema, typeof STORES, 'readwrite'>;

/** Options that only tests change. */
export interface IndexedDbOptions {
  version?: number;
  patienceMs?: number;
}

/** One database for each memory, by its name. */
export class IndexedDbStore implements Store {
  readonly durable = true;
  readonly group: string;
  readonly #name: string;
  readonly #version: number;
  readonly #patienceMs: number;
  #connection: Promise<Database> | undefined;
  #generation: string | undefined; // of the snapshot that our frames build on
  #frames = 0; // in the journal
  #refused: { captions: number[]; thumbnails: number[] } = { captions: [], thumbnails: [] }; // by the last load
  #closed = false;

  /** That of a model. */
  static of(model: string): IndexedDbStore {
    return new IndexedDbStore(`${NAME}${model}`);
  }

  constructor(name: string, { version = VERSION, patienceMs = PATIENCE_MS }: IndexedDbOptions = {}) {
    this.#name = this.group = name;
    this.#version = version;
    this.#patienceMs = patienceMs;
  }

  async load(): Promise<StoredState> {
    return this.#attempt(async (database) => {
      const transaction = database.transaction(STORES, 'readonly');
      const at = <Name extends (typeof STORES)[number]>(name: Name) => transaction.objectStore(name);
      const thumbnails = new Map<number, number>();
      const refused = { captions: [] as number[], thumbnails: [] as number[] };
      const measure = async () => {
        for (let cursor = await at('thumbnails').openCursor(); cursor; cursor = await cursor.continue()) {
          if (isThumbnail(cursor.value)) thumbnails.set(cursor.key, cursor.value.bytes.length);
          else refused.thumbnails.push(cursor.key);
        }
      };
      const [state, entries, last, ids, texts] = await Promise.all([
        at('state').get('snapshot'),
        at('journal').getAll(),
        at('journal').openKeyCursor(null, 'prev'),
        at('captions').getAllKeys(),
        at('captions').getAll(),
        measure(),
        transaction.done,
      ]);
      if (state && !isPiece(state)) throw new BitMarError('invalid_state', `The snapshot of ${this.#name} is damaged, or something else`);
      this.#generation = state?.generation;
      this.#frames = last ? last.key + 1 : 0;
      const frames = entries.filter(isPiece);
      const captions = new Map<number, string>();
      for (const [i, id] of ids.entries()) {
        const text = textOf(id, texts[i]!);
        if (text === undefined) refused.captions.push(id);
        else captions.set(id, text);
      }
      this.#refused = refused;
      const damaged = this.#frames - frames.length + refused.captions.length + refused.thumbnails.length;
      return {
        snapshot: state?.bytes ?? null,
        frames: frames.map(({ bytes }) => bytes),
        sequence: (frames.at(-1) ?? state)?.sequence ?? 0,
        captions,
        thumbnails,
        damaged,
      };
    });
  }

  async append(frame: Uint8Array, sequence: number, attachments: Attachments): Promise<boolean> {
    const index = this.#frames; // the same at a second attempt, should the first have been kept after all
    const kept = await this.#write(async (transaction) => {
      const [state, frames] = await Promise.all([transaction.objectStore('state').get('snapshot'), transaction.objectStore('journal').count()]);
      if (!state || !isPiece(state) || state.generation !== this.#generation) return false;
      if (frames < index) return false; // somebody took some away
      await Promise.all([transaction.objectStore('journal').put({ bytes: frame, sequence }, index), ...attach(transaction, attachments)]);
      return true;
    });
    if (kept) this.#frames = index + 1;
    return kept;
  }

  async replace(snapshot: Uint8Array, sequence: number, attachments: Attachments): Promise<void> {
    const generation = `${Date.now()}-${Math.random()}`; // only ever compared for equality
    await this.#write(async (transaction) => {
      await Promise.all([
        transaction.objectStore('state').put({ bytes: snapshot, sequence, generation, place: ownPlace() }, 'snapshot'),
        transaction.objectStore('journal').clear(),
        ...attach(transaction, attachments),
      ]);
    });
    this.#generation = generation;
    this.#frames = 0;
  }

  async thumbnail(id: number): Promise<Thumbnail | undefined> {
    const found = await this.#attempt((database) => database.get('thumbnails', id));
    if (found && !(isThumbnail(found) && isSound(id, found))) throw new BitMarError('invalid_state', `The thumbnail of episode ${id} is damaged`);
    return found && { type: found.type, bytes: found.bytes };
  }

  async holds(): Promise<boolean> {
    return this.#attempt(async (database) => {
      const state = await database.get('state', 'snapshot');
      return state !== undefined && isPiece(state) && state.generation === this.#generation && (await database.count('journal')) >= this.#frames;
    });
  }

  async setAside(): Promise<void> {
    await this.#write(async (transaction) => {
      const at = <Name extends (typeof STORES)[number]>(name: Name) => transaction.objectStore(name);
      const [keys, state, journal, ids, captions, pictured, thumbnails] = await Promise.all([
        at('state').getAllKeys(),
        at('state').get('snapshot'),
        at('journal').getAll(),
        at('captions').getAllKeys(),
        at('captions').getAll(),
        at('thumbnails').getAllKeys(),
        at('thumbnails').getAll(),
      ]);
      const pairs = <Value>(ids: number[], values: Value[]) => ids.map((id, i): [number, Value] => [id, values[i]!]);
      const aside: Aside = { state, journal, captions: pairs(ids, captions), thumbnails: pairs(pictured, thumbnails) };
      await Promise.all([
        at('state').put(aside, `aside-${1 + Math.max(0, ...keys.map((key) => Number(/^aside-(\d+)$/.exec(key)?.[1] ?? 0)))}`),
        ...this.#refused.captions.map((id) => at('captions').delete(id)), // which would be damaged for ever
        ...this.#refused.thumbnails.map((id) => at('thumbnails').delete(id)),
      ]);
    });
    this.#refused = { captions: [], thumbnails: [] };
  }

  async dropAside(): Promise<void> {
    await this.#changeAside(() => undefined);
  }

  async eraseAside(ids: readonly number[]): Promise<void> {
    await this.#changeAside((aside) => without(aside, ids));
  }

  /** Undefined: it goes. */
  #changeAside(change: (aside: Aside) => Aside | undefined): Promise<void> {
    return this.#write(async (transaction) => {
      const state = transaction.objectStore('state');
      for (const key of await state.getAllKeys()) {
        if (key === 'snapshot') continue;
        const changed = change((await state.get(key)) as Aside);
        await (changed ? state.put(changed, key) : state.delete(key));
      }
    });
  }

  async earlier(): Promise<readonly EarlierStore[]> {
    const found: EarlierStore[] = [];
    for (const { name = '' } of (await indexedDB.databases?.()) ?? []) {
      const [, model] = MODEL_NAME.exec(name) ?? [];
      if (!model || name === this.#name) continue;
      const store = IndexedDbStore.of(model);
      try {
        const state = await store.#attempt((database) => database.get('state', 'snapshot'));
        if (!state || !isPiece(state) || (state.place ?? ownPlace()) !== ownPlace()) continue;
        const savedMs = Number.parseInt(state.generation, 10);
        found.push({
          model,
          savedMs: Number.isFinite(savedMs) ? savedMs : 0,
          load: () => IndexedDbStore.#once(model, (other) => other.load()),
          thumbnail: (id) => IndexedDbStore.#once(model, (other) => other.thumbnail(id)),
          delete: () => remove(name),
        });
      } catch {
        // Of a newer version, or being deleted: not for us.
      } finally {
        store.close();
      }
    }
    return found;
  }

  static async #once<Result>(model: string, use: (store: IndexedDbStore) => Promise<Result>): Promise<Result> {
    const store = IndexedDbStore.of(model);
    try {
      return await use(store);
    } finally {
      store.close();
    }
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  #drop(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.then((database) => database.close()).catch(() => {});
  }

  /** Runs the work in a transaction. Resolves once the transaction is complete, which with strict durability is on the disk. */
  #write<Result>(work: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    return this.#attempt(async (database) => {
      const transaction = database.transaction(STORES, 'readwrite', { durability: 'strict' });
      try {
        const [result] = await Promise.all([work(transaction), transaction.done]);
        return result;
      } catch (error) {
        throw transaction.error ?? error; // a quota is reported by the transaction, after its requests have gone well
      }
    });
  }

  /** Once more on a new connection where the old one was lost. */
  async #attempt<Result>(work: (database: Database) => Promise<Result>): Promise<Result> {
    for (let first = true; ; first = false) {
      if (this.#closed) throw new BitMarError('disposed', 'The store was closed');
      const connection = (this.#connection ??= this.#open());
      try {
        return await work(await connection);
      } catch (error) {
        if (this.#connection === connection) this.#drop();
        if (!first || !isLoss(error)) throw storageError(error);
      }
    }
  }

  #open(): Promise<Database> {
    let failed = false;
    const opened = async () => openDB<Schema>(this.#name, this.#version, {
      upgrade(database) {
        for (const name of STORES) if (!database.objectStoreNames.contains(name)) database.createObjectStore(name);
      },
      blocked: () => fail(new BitMarError('storage_blocked', 'Another tab keeps an older version of the memory open: close it')),
      blocking: () => lost(), // a newer version wants to upgrade, or somebody deletes the database
      terminated: () => lost(),
    });
    let fail: (error: BitMarError) => void;
    const failure = new Promise<never>((_, reject) => (fail = reject));
    const timer = setTimeout(() => fail(new BitMarError('storage_blocked', 'The browser does not open the storage')), this.#patienceMs);
    const opening = opened();
    const connection = Promise.race([opening, failure]).catch((error: unknown) => {
      failed = true;
      throw error;
    });
    const lost = () => {
      if (this.#connection === connection) this.#connection = undefined;
      opening.then((database) => database.close()).catch(() => {});
    };
    opening
      .then((database) => failed && database.close()) // too late
      .catch(() => {})
      .finally(() => clearTimeout(timer));
    return connection;
  }
}

/** What was set aside, but for these episodes. */
function without(aside: Aside, ids: readonly number[]): Aside {
  for (const piece of [aside.state, ...aside.journal]) {
    const { bytes } = (piece ?? {}) as Partial<Piece>;
    if (bytes instanceof Uint8Array) eraseRecords(bytes, ids);
  }
  const stays = ([id]: [IDBValidKey, unknown]) => !ids.includes(id as number);
  return { ...aside, captions: aside.captions.filter(stays), thumbnails: aside.thumbnails.filter(stays) };
}

/** No tab has it open as its own. */
async function remove(name: string): Promise<void> {
  await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (!lock) throw new BitMarError('storage_blocked', 'Another tab has this memory open: close it');
    await deleteDB(name).catch((error: unknown) => {
      throw storageError(error);
    });
  });
}

function ownPlace(): string {
  return new URL('.', baseAddress()).pathname;
}

function isPiece(value: unknown): value is Snapshot {
  const { bytes, sequence } = (value ?? {}) as Partial<Piece>;
  return bytes instanceof Uint8Array && Number.isSafeInteger(sequence);
}

/** Undefined where it is damaged. */
function textOf(id: number, stored: unknown): string | undefined {
  if (typeof stored === 'string') return stored;
  const { text, sum } = (stored ?? {}) as Partial<Exclude<StoredCaption, string>>;
  return typeof text === 'string' && sum === captionSum(id, text) ? text : undefined;
}

function captionSum(id: number, text: string): number {
  return crc32(`${id} `, new TextEncoder().encode(text));
}

function isSound(id: number, { type, bytes, sum }: StoredThumbnail): boolean {
  return sum === undefined || sum === thumbnailSum(id, { type, bytes });
}

function thumbnailSum(id: number, { type, bytes }: Thumbnail): number {
  return crc32(`${id} ${type} `, bytes);
}

function isThumbnail(value: unknown): value is Thumbnail {
  const { type, bytes } = (value ?? {}) as Partial<Thumbnail>;
  return typeof type === 'string' && bytes instanceof Uint8Array;
}

function attach(transaction: Transaction, { cleared, removed, evicted, captions, thumbnails }: Attachments): Promise<unknown>[] {
  const texts = transaction.objectStore('captions');
  const images = transaction.objectStore('thumbnails');
  return [
    ...(cleared ? [texts.clear(), images.clear()] : []),
    ...removed.flatMap((id) => [texts.delete(id), images.delete(id)]),
    ...evicted.map((id) => images.delete(id)),
    ...[...captions].map(([id, text]) => texts.put({ text, sum: captionSum(id, text) }, id)),
    ...[...thumbnails].map(([id, thumbnail]) => images.put({ ...thumbnail, sum: thumbnailSum(id, thumbnail) }, id)),
  ];
}

/** A closed or dying connection; nothing was kept, or the same will be kept again. */
function isLoss(error: unknown): boolean {
  return ['InvalidStateError', 'AbortError', 'UnknownError', 'TransactionInactiveError'].includes((error as Error | null)?.name ?? '');
}

function storageError(error: unknown): BitMarError {
  if (error instanceof BitMarError) return error;
  const name = (error as Error | null)?.name;
  const options = { cause: error };
  if (name === 'QuotaExceededError') return new BitMarError('storage_full', 'The browser grants no more storage', options);
  if (name === 'VersionError') return new BitMarError('unsupported_state', 'The memory was saved by a newer version of this page', options);
  return new BitMarError('storage_unavailable', `The browser's storage fails: ${messageOf(error)}`, options);
}
