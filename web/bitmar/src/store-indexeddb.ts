// A memory in IndexedDB. Every connection may be lost at any moment (other versions, backgrounding, cleared site data): each
// call takes the one there is, or opens another.

import { openDB, type DBSchema, type IDBPDatabase, type IDBPTransaction } from 'idb';

import { BitMarError, messageOf } from './errors.js';
import type { Attachments, Store, StoredState, Thumbnail } from './store.js';

/** The engine's bytes, and the number of the last change in them. */
interface Piece {
  bytes: Uint8Array;
  sequence: number;
}

/** Version 1. `state` has one record under the key 'snapshot'; `journal` has the frames under 0, 1, 2, ... */
interface Schema extends DBSchema {
  state: { key: string; value: Piece & { generation: string } };
  journal: { key: number; value: Piece };
  captions: { key: number; value: string };
  thumbnails: { key: number; value: Thumbnail };
}

const VERSION = 1;
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
  readonly #name: string;
  readonly #version: number;
  readonly #patienceMs: number;
  #connection: Promise<Database> | undefined;
  #generation: string | undefined; // of the snapshot that our frames build on
  #frames = 0; // in the journal

  constructor(name: string, { version = VERSION, patienceMs = PATIENCE_MS }: IndexedDbOptions = {}) {
    this.#name = name;
    this.#version = version;
    this.#patienceMs = patienceMs;
  }

  async load(): Promise<StoredState> {
    return this.#attempt(async (database) => {
      const transaction = database.transaction(STORES, 'readonly');
      const at = <Name extends (typeof STORES)[number]>(name: Name) => transaction.objectStore(name);
      const thumbnails = new Map<number, number>();
      const measure = async () => {
        for (let cursor = await at('thumbnails').openCursor(); cursor; cursor = await cursor.continue()) {
          thumbnails.set(cursor.key, cursor.value.bytes.length);
        }
      };
      const [state, frames, last, ids, texts] = await Promise.all([
        at('state').get('snapshot'),
        at('journal').getAll(),
        at('journal').openKeyCursor(null, 'prev'),
        at('captions').getAllKeys(),
        at('captions').getAll(),
        measure(),
        transaction.done,
      ]);
      this.#generation = state?.generation;
      this.#frames = last ? last.key + 1 : 0;
      return {
        snapshot: state?.bytes ?? null,
        frames: frames.map(({ bytes }) => bytes),
        sequence: (frames.at(-1) ?? state)?.sequence ?? 0,
        captions: new Map(ids.map((id, i) => [id, texts[i]!])),
        thumbnails,
      };
    });
  }

  async append(frame: Uint8Array, sequence: number, attachments: Attachments): Promise<boolean> {
    const index = this.#frames; // the same at a second attempt, should the first have been kept after all
    const kept = await this.#write(async (transaction) => {
      const state = await transaction.objectStore('state').get('snapshot');
      if (!state || state.generation !== this.#generation) return false;
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
        transaction.objectStore('state').put({ bytes: snapshot, sequence, generation }, 'snapshot'),
        transaction.objectStore('journal').clear(),
        ...attach(transaction, attachments),
      ]);
    });
    this.#generation = generation;
    this.#frames = 0;
  }

  async thumbnail(id: number): Promise<Thumbnail | undefined> {
    return this.#attempt((database) => database.get('thumbnails', id));
  }

  close(): void {
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
      const connection = (this.#connection ??= this.#open());
      try {
        return await work(await connection);
      } catch (error) {
        if (this.#connection === connection) this.close();
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

function attach(transaction: Transaction, { cleared, removed, evicted, captions, thumbnails }: Attachments): Promise<unknown>[] {
  const texts = transaction.objectStore('captions');
  const images = transaction.objectStore('thumbnails');
  return [
    ...(cleared ? [texts.clear(), images.clear()] : []),
    ...removed.flatMap((id) => [texts.delete(id), images.delete(id)]),
    ...evicted.map((id) => images.delete(id)),
    ...[...captions].map(([id, text]) => texts.put(text, id)),
    ...[...thumbnails].map(([id, thumbnail]) => images.put(thumbnail, id)),
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
