// A memory in a folder of the disk, for node: `snapshot.bin`, `journal.bin`, `thumbnails/ID-CHECKSUM.TYPE` and `lock`. In `aside/` lies
// what was refused, and what other models remembered.

import { randomInt } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import { BitMarError, messageOf } from '../api/errors.js';
import { applyCaptions } from './attachments.js';
import { FolderLock } from './folder-lock.js';
import { beginsLikeRecords, checksum, eraseEpisodes, findRecords, FORMAT, frameRecord, PREFIX_BYTES, snapshotFile, type Found, type FoundRecord, type RecordHeader } from './records.js';
import type { Attachments, EarlierStore, Store, StoredState, Thumbnail } from './store.js';
import { imageType, MOST_THUMBNAIL_BYTES } from './thumbnails.js';

/** No memory takes so much: its 65,536 slots and their captions. What is larger is something else. */
const MOST_BYTES = 512 << 20;
/** A larger one is looked at before it is read. */
const LARGE_BYTES = 16 << 20;

/** A thumbnail's file, by its id, its checksum, which is missing from those of earlier versions, and its type, with `_` for dots. */
const THUMBNAIL_NAME = /^(\d{1,16})(?:-([0-9a-f]{16}))?\.([a-z0-9_+-]{1,32})$/;
const PART_NAME = /^(snapshot\.bin|journal\.bin|cut-[0-9a-f]+\.bin|\d{1,16}-[0-9a-f]{16}\.[a-z0-9_+-]{1,32})\.part$/;
const DAMAGED_NAME = /^damaged-\d+$/;
const MODEL_NAME = /^[0-9a-f]{64}$/;

// Nothing is waited for at the other end of a pipe. What Windows does not know is undefined there.
const { O_RDONLY, O_WRONLY, O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK = 0, O_NOFOLLOW = 0 } = constants;
const READ = O_RDONLY | O_NONBLOCK;
const CHANGE = O_RDWR | O_NONBLOCK;
const APPEND = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK;
const CREATE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;

export interface FileStoreOptions {
  /** The hash of the model: what another one has left in the folder is not taken for this one's. */
  readonly model?: string | undefined;
  /** Opens no lock and makes no folder. */
  readonly readOnly?: boolean | undefined;
}

/** Stores of this process that are about to close, by their folders: whoever opens one of these waits for them, not only as long as for a stranger. */
const endings = new Map<string, Promise<void>>();
const LONGEST_END_MS = 30_000;

async function endOf(place: string): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, LONGEST_END_MS)));
  await Promise.race([endings.get(place), patience]);
  clearTimeout(timer);
}

/** What the two files hold. */
interface Contents {
  readonly generation: number;
  readonly model: string | undefined;
  readonly sequence: number;
  readonly snapshot: Uint8Array | null;
  readonly frames: readonly FoundRecord[];
  readonly captions: Map<number, string>;
  readonly thumbnails: Map<number, string>;
  readonly damaged: number;
  /** How many of these are thumbnails whose files are not there. */
  readonly missing: number;
  /** Of the journal; what lies behind was never acknowledged. */
  readonly journalEnd: number;
  /** Whether it is of an earlier format. */
  readonly old: boolean;
}

/** One folder for each memory. One process at a time: to a second one it is `storage_blocked`. */
export class FileStore implements Store {
  readonly durable = true;
  readonly #folder: string;
  readonly #model: string | undefined;
  #readOnly: boolean;
  #lock: FolderLock | undefined;
  #place: string | undefined; // the folder by its real path
  #ended: (() => void) | undefined; // for those who wait for our end
  #closed = false;
  #working = 0;

  #generation: number | undefined; // of the snapshot that our frames build on
  #snapshot: string | undefined; // which file that is: see identityOf
  #attempts = new Set<string>(); // those that were to take its place: whether one did is not known where that failed
  #journalBytes = 0;
  #foundTail = false; // an earlier process left the rest of a write behind the journal's end
  #journalMost = 0; // bytes of the journal with that, or with the rest of a write of ours that failed: of more, others wrote some
  #foreign: string | undefined; // the model whose memory is in our place
  #source: string; // the folder that was read: our place, or where another model has put ours
  #placeRead = false; // whether our place could be read, and so whether ours lies elsewhere
  #captions = new Map<number, string>();
  #thumbnails = new Map<number, string>(); // names of their files
  #thumbnailFolder: string; // where these are

  constructor(folder: string, { model, readOnly = false }: FileStoreOptions = {}) {
    this.#folder = resolve(folder);
    this.#model = model;
    this.#readOnly = readOnly;
    this.#thumbnailFolder = this.#path('thumbnails');
    this.#source = this.#folder;
  }

  get exclusive(): boolean {
    return this.#lock?.exclusive ?? false;
  }

  get readOnly(): boolean {
    return this.#readOnly;
  }

  load(): Promise<StoredState> {
    return this.#guarded(async () => {
      await this.#enter();
      this.#generation = this.#foreign = undefined;
      this.#captions = new Map();
      this.#thumbnails = new Map();
      this.#snapshot = await this.#identity();
      this.#source = this.#folder; // also where reading fails: what is set aside then
      this.#placeRead = false;
      this.#journalMost = await this.#journalSize();
      let found = await this.#read(this.#source);
      this.#placeRead = true;
      this.#generation = found?.generation;
      this.#journalBytes = found?.journalEnd ?? 0;
      this.#journalMost = Math.max(this.#journalMost, this.#journalBytes);
      this.#foundTail = this.#journalMost > this.#journalBytes;
      if (this.#model !== undefined && found?.model !== undefined && found.model !== this.#model) {
        // The place is another model's. Ours may have been before.
        this.#foreign = found.model;
        this.#source = this.#path('aside', this.#model);
        found = await this.#read(this.#source);
      }
      this.#thumbnailFolder = join(this.#source, 'thumbnails');
      if (!found) return { snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails: new Map() };
      this.#captions = found.captions;
      this.#thumbnails = found.thumbnails;
      const thumbnails = await this.#sizes();
      const none = this.#readOnly ? 0 : found.thumbnails.size - thumbnails.size; // whoever may write deletes files at any moment
      return {
        snapshot: found.snapshot,
        frames: found.frames.map(({ body }) => body),
        sequence: found.sequence,
        captions: new Map(found.captions),
        thumbnails,
        damaged: found.damaged + none,
        rewrite: found.old || this.#source !== this.#folder,
      };
    });
  }

  append(frame: Uint8Array, sequence: number, attachments: Attachments): Promise<boolean> {
    return this.#guarded(async () => {
      this.#mayWrite();
      if (!(await this.#isAsItWas())) return false; // what the frame builds on is gone
      const journal = await statOf(this.#path('journal.bin'));
      if (journal && (journal.size > this.#journalBytes || journal.nlink > 1)) await this.#cutJournal();
      const names = await this.#putThumbnails(attachments);
      const bytes = frameRecord(this.#generation!, { model: this.#model, sequence }, frame, changeOf(attachments, names));
      if (this.#journalBytes + bytes.length > MOST_BYTES) throw this.#tooLarge();
      this.#foundTail = false;
      this.#journalMost = this.#journalBytes + bytes.length;
      await withFile(this.#path('journal.bin'), APPEND, async (file) => {
        await file.appendFile(bytes);
        await file.datasync();
      });
      this.#journalBytes += bytes.length;
      const gone = this.#apply(changeOf(attachments, names));
      await this.#removeThumbnails(gone);
      return true;
    });
  }

  replace(snapshot: Uint8Array, sequence: number, attachments: Attachments): Promise<void> {
    return this.#guarded(async () => {
      this.#mayWrite();
      await mkdir(this.#path('thumbnails'), { recursive: true });
      if (!this.#lock?.holds) {
        // Somebody removed the folder, which is there anew.
        this.#lock?.release();
        this.#lock = undefined;
        this.#lock = await FolderLock.take(this.#folder);
      }
      const there = await this.#identity();
      const ours = there !== undefined && this.#attempts.has(there);
      if (there !== undefined && there !== this.#snapshot && !ours) throw this.#taken();
      // Whoever saw no lock, or came while we had lost ours, may have written and gone.
      if ((await this.#journalSize()) > this.#journalMost) throw this.#taken();
      if (this.#foreign !== undefined && !ours) await this.#copyAside(this.#foreign, this.#folder);
      const names = await this.#putThumbnails(attachments);
      const captions = new Map(this.#captions);
      const thumbnails = new Map(this.#thumbnails);
      apply(captions, thumbnails, changeOf(attachments, names));
      // Like no other: neither a journal whose snapshot could not be read may count, nor that of a process that does not see our lock.
      const generation = randomInt(2 ** 32);
      const bytes = snapshotFile(generation, { model: this.#model, sequence }, snapshot, captions, thumbnails);
      if (bytes.length > MOST_BYTES) throw this.#tooLarge();
      for (const name of thumbnails.values()) await linkOrCopy(join(this.#thumbnailFolder, name), this.#path('thumbnails', name));
      await syncFolder(this.#path('thumbnails'));
      const placeRead = this.#placeRead;
      if (!placeRead) await this.#clearOwnAside();
      // Whatever happens in between: a journal of another generation does not count.
      const identity = identityOf(bytes, bytes.length);
      this.#attempts.add(identity);
      await this.#writeWhole('snapshot.bin', bytes);
      this.#attempts.clear();
      this.#snapshot = identity;
      this.#placeRead = true;
      this.#source = this.#folder;
      this.#generation = generation;
      this.#captions = captions;
      this.#thumbnails = thumbnails;
      this.#thumbnailFolder = this.#path('thumbnails');
      this.#journalBytes = 0;
      this.#foundTail = false; // what may be left there, should this fail, is the old journal
      this.#foreign = undefined;
      await this.#writeWhole('journal.bin', new Uint8Array());
      this.#journalMost = 0;
      await removeParts([this.#folder, this.#path('thumbnails')]);
      const kept = new Set(thumbnails.values());
      await this.#removeThumbnails((await listThumbnails(this.#folder)).filter((name) => !kept.has(name)));
      if (placeRead) await this.#clearOwnAside();
    });
  }

  thumbnail(id: number): Promise<Thumbnail | undefined> {
    return this.#guarded(async () => {
      const name = this.#thumbnails.get(id);
      if (!name) return undefined;
      const bytes = await readRegular(join(this.#thumbnailFolder, name), MOST_THUMBNAIL_BYTES);
      if (!bytes) return undefined;
      const [, , sum, type] = THUMBNAIL_NAME.exec(name) ?? [];
      if (sum && sum !== checksum(bytes)) throw new BitMarError('invalid_state', `${name} is damaged`);
      return { type: `image/${type!.replaceAll('_', '.')}`, bytes };
    });
  }

  holds(): Promise<boolean> {
    return this.#guarded(async () => this.#isAsItWas());
  }

  setAside(): Promise<void> {
    return this.#guarded(async () => {
      this.#mayWrite();
      await this.#copyAside(await this.#freeName(), this.#source);
    });
  }

  dropAside(): Promise<void> {
    return this.#guarded(async () => {
      this.#mayWrite();
      for (const name of await namesIn(this.#path('aside'))) {
        if (!MODEL_NAME.test(name)) await rm(this.#path('aside', name), { recursive: true, force: true });
      }
    });
  }

  /** Not from earlier memories, which have episodes of their own and are deleted as a whole. */
  eraseAside(ids: readonly number[]): Promise<void> {
    return this.#guarded(async () => {
      this.#mayWrite();
      for (const name of await namesIn(this.#path('aside'))) {
        if (/^cut-\w+\.bin$/.test(name)) await this.#erase(join('aside', name), ids);
        else if (DAMAGED_NAME.test(name)) await this.#eraseCopy(join('aside', name), ids);
      }
    });
  }

  async #eraseCopy(name: string, ids: readonly number[]): Promise<void> {
    for (const file of ['snapshot.bin', 'journal.bin']) await this.#erase(join(name, file), ids);
    const gone = new Set(ids);
    for (const file of await listThumbnails(this.#path(name))) {
      if (gone.has(Number.parseInt(file, 10))) await rm(this.#path(name, 'thumbnails', file), { force: true });
    }
  }

  /** Writes another file in its place: the old one may be a link to the memory's own. */
  async #erase(name: string, ids: readonly number[]): Promise<void> {
    const there = await statOf(this.#path(name));
    if (!there?.isFile() || there.size > MOST_BYTES) return; // nothing that a memory has written
    const bytes = await readRegular(this.#path(name), MOST_BYTES);
    if (bytes && eraseEpisodes(bytes, ids)) await this.#writeWhole(name, bytes);
  }

  earlier(): Promise<readonly EarlierStore[]> {
    return this.#guarded(async () => {
      const aside = (await namesIn(this.#path('aside'))).filter((name) => MODEL_NAME.test(name) && name !== this.#model);
      const places = aside.map((model) => ({ model, folder: this.#path('aside', model) }));
      if (this.#foreign !== undefined) places.unshift({ model: this.#foreign, folder: this.#folder });
      const found: EarlierStore[] = [];
      for (const { model, folder } of places) {
        const there = await statOf(join(folder, 'snapshot.bin'));
        if (!there) continue;
        const store = new FileStore(folder, { model, readOnly: true });
        found.push({
          model,
          savedMs: there.mtimeMs,
          load: () => store.load(),
          thumbnail: (id) => store.thumbnail(id),
          delete: () => this.#guarded(() => this.#deleteEarlier(model, folder)),
        });
      }
      return found;
    });
  }

  ending(): void {
    const place = this.#place;
    if (place === undefined || this.#ended) return;
    const ending = new Promise<void>((resolve) => (this.#ended = resolve));
    endings.set(place, ending);
    void ending.then(() => endings.get(place) === ending && endings.delete(place));
  }

  close(): void {
    this.#closed = true;
    if (this.#working === 0) this.#release();
  }

  // ---- Whose folder it is ----

  async #enter(): Promise<void> {
    if (this.#readOnly || this.#lock) return;
    try {
      await mkdir(this.#path('thumbnails'), { recursive: true });
      this.#place = await realpath(this.#folder);
      await endOf(this.#place);
      this.#lock = await FolderLock.take(this.#folder);
      if (this.#lock.exclusive) await this.#removeOldParts().catch(() => {}); // the next save does it, or says why it cannot
    } catch (error) {
      const refused = ['EACCES', 'EROFS', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
      if (!refused || !(await exists(this.#folder))) throw error;
      this.#readOnly = true;
    }
  }

  async #removeOldParts(): Promise<void> {
    const aside = this.#path('aside');
    const copies = (await namesIn(aside)).filter((name) => DAMAGED_NAME.test(name)).map((name) => join(aside, name));
    await removeParts([this.#folder, this.#path('thumbnails'), aside, ...copies]);
  }

  #mayWrite(): void {
    if (this.#readOnly) throw new BitMarError('read_only', `${this.#folder} cannot be written`);
  }

  /** Whether the files are those that we have read or written. */
  async #isAsItWas(): Promise<boolean> {
    if (this.#generation === undefined || this.#foreign !== undefined || !this.#lock?.holds) return false;
    if (this.#snapshot === undefined || (await this.#identity()) !== this.#snapshot) return false;
    const size = await this.#journalSize();
    if (size > this.#journalMost) throw this.#taken();
    return size >= this.#journalBytes;
  }

  #tooLarge(): BitMarError {
    return new BitMarError('storage_full', `A memory of more than ${MOST_BYTES} bytes is not kept in a folder`);
  }

  #taken(): BitMarError {
    return new BitMarError('storage_blocked', `Another process has written to ${this.#folder}`);
  }

  /** Which snapshot is there, by what it says of itself: who copies or touches the file changes nothing. */
  async #identity(): Promise<string | undefined> {
    const there = await statOf(this.#path('snapshot.bin'));
    if (!there?.isFile()) return there && 'no file';
    const begins = Buffer.alloc(PREFIX_BYTES);
    let read = 0;
    await withFile(this.#path('snapshot.bin'), READ, async (file) => {
      read = (await file.read(begins, 0, PREFIX_BYTES, 0)).bytesRead;
    });
    return identityOf(begins.subarray(0, read), there.size);
  }

  /** -1 where there is none. */
  async #journalSize(): Promise<number> {
    const there = await statOf(this.#path('journal.bin'));
    return there?.isFile() ? there.size : -1;
  }

  async #guarded<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#closed) throw new BitMarError('disposed', 'The store was closed');
    this.#working += 1;
    try {
      return await work();
    } catch (error) {
      if (error instanceof BitMarError) throw error;
      const full = ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
      throw new BitMarError(full ? 'storage_full' : 'storage_unavailable', `${this.#folder}: ${messageOf(error)}`, { cause: error });
    } finally {
      this.#working -= 1;
      if (this.#closed && this.#working === 0) this.#release(); // not before: nobody else may write while this does
    }
  }

  #release(): void {
    this.#lock?.release();
    this.#lock = undefined;
    this.#ended?.();
  }

  // ---- Reading ----

  /** Changes nothing. Undefined where there is nothing. */
  async #read(folder: string): Promise<Contents | undefined> {
    for (let attempt = 0; ; attempt += 1) {
      const file = await readRecords(join(folder, 'snapshot.bin'));
      const journal = findRecords((await readRecords(join(folder, 'journal.bin'))) ?? Buffer.alloc(0));
      if (!file && !journal.records.length) return undefined;
      const contents = contentsOf(file, journal, await listThumbnails(folder));
      if (!contents) throw new BitMarError('invalid_state', `${join(folder, 'snapshot.bin')} is damaged, or something else`);
      if (contents.format > FORMAT) throw new BitMarError('unsupported_state', `${folder} was saved by a newer version`);
      // Without the lock: whoever has it may have written between the two files.
      const between = this.#readOnly && (contents.missing > 0 || journal.records.some(({ generation }) => generation !== contents.generation));
      if (!between || attempt === 5) return contents;
    }
  }

  async #sizes(): Promise<Map<number, number>> {
    const sizes = new Map<number, number>();
    for (const [id, name] of this.#thumbnails) {
      const there = await statOf(join(this.#thumbnailFolder, name));
      if (there?.isFile()) sizes.set(id, there.size);
    }
    return sizes;
  }

  // ---- Writing ----

  #path(...names: string[]): string {
    return join(this.#folder, ...names);
  }

  #apply(change: RecordHeader): string[] {
    return apply(this.#captions, this.#thumbnails, change);
  }

  /** What lies behind the last whole record was never acknowledged. What an earlier process left there is kept aside all the same. */
  async #cutJournal(): Promise<void> {
    const bytes = (await readRegular(this.#path('journal.bin'), MOST_BYTES)) ?? Buffer.alloc(0);
    const rest = bytes.subarray(this.#journalBytes);
    if (this.#foundTail && rest.length > 0) {
      await mkdir(this.#path('aside'), { recursive: true });
      await this.#writeWhole(join('aside', `cut-${checksum(rest)}.bin`), rest);
    }
    await this.#writeWhole('journal.bin', bytes.subarray(0, this.#journalBytes)); // another file: the old one may be set aside, too
    this.#foundTail = false;
    this.#journalMost = this.#journalBytes;
  }

  /** The old file or the new one, whatever happens meanwhile. */
  async #writeWhole(name: string, bytes: Uint8Array): Promise<void> {
    await this.#writeFile(name, bytes);
    await syncFolder(dirname(this.#path(name)));
  }

  async #writeFile(name: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(name);
    await rm(`${path}.part`, { force: true }); // whatever it is: into a pipe one would write for ever
    await withFile(`${path}.part`, CREATE, async (file) => {
      await file.writeFile(bytes);
      await file.sync();
    });
    await rename(`${path}.part`, path);
  }

  /** The names of their files, each of which is new: the old state keeps its own. */
  async #putThumbnails({ thumbnails }: Attachments): Promise<[number, string][]> {
    const names: [number, string][] = [];
    for (const [id, { type, bytes }] of thumbnails) {
      const [, subtype] = (imageType(type) ?? 'image/jpeg').split('/');
      const name = `${id}-${checksum(bytes)}.${subtype!.replaceAll('.', '_')}`;
      await this.#writeFile(join('thumbnails', name), bytes);
      names.push([id, name]);
    }
    if (names.length) await syncFolder(this.#path('thumbnails'));
    return names;
  }

  async #removeThumbnails(names: readonly string[]): Promise<void> {
    for (const name of names) await rm(this.#path('thumbnails', name), { force: true });
  }

  /** For what is set aside. */
  async #freeName(): Promise<string> {
    const taken = new Set(await namesIn(this.#path('aside')));
    let number = 1;
    while (taken.has(`damaged-${number}`)) number += 1;
    return `damaged-${number}`;
  }

  /** Everything of that folder as it is, under another name; nothing is overwritten in place later. */
  async #copyAside(name: string, from: string): Promise<void> {
    const to = this.#path('aside', name);
    await rm(to, { recursive: true, force: true }); // the rest of one that was interrupted
    await mkdir(join(to, 'thumbnails'), { recursive: true });
    const thumbnails = (await listThumbnails(from)).map((file) => join('thumbnails', file));
    for (const file of [...thumbnails, 'journal.bin', 'snapshot.bin']) await linkOrCopy(join(from, file), join(to, file));
    for (const folder of [join(to, 'thumbnails'), to, this.#path('aside'), this.#folder]) await syncFolder(folder);
  }

  /** Of our own memory, where another model has put it: when it is in our place again, nobody needs that. But what was never read is kept. */
  async #clearOwnAside(): Promise<void> {
    if (this.#model === undefined) return;
    const own = this.#path('aside', this.#model);
    if (this.#placeRead) await rm(own, { recursive: true, force: true });
    else if (await exists(own)) await rename(own, this.#path('aside', await this.#freeName()));
  }

  async #deleteEarlier(model: string, folder: string): Promise<void> {
    this.#mayWrite();
    if (folder !== this.#folder) return rm(folder, { recursive: true, force: true });
    if (this.#foreign !== model) return rm(this.#path('aside', model), { recursive: true, force: true }); // it was set aside meanwhile
    for (const name of ['snapshot.bin', 'journal.bin']) await rm(this.#path(name), { force: true });
    await this.#removeThumbnails(await listThumbnails(this.#folder));
    this.#foreign = this.#snapshot = undefined;
  }
}

/** What the two files say together; undefined where the snapshot's file says nothing. */
function contentsOf(file: Buffer | undefined, journal: Found, thumbnailFiles: readonly string[]): (Contents & { format: number }) | undefined {
  const found = file && findRecords(file, true);
  const records = found?.records ?? [];
  const whole = records.find(({ header }) => header?.format !== undefined);
  if (file && !whole) return undefined;
  const last = records.filter(({ header }) => header?.snapshot !== undefined).at(-1);
  const generation = whole?.generation ?? journal.records.at(-1)!.generation;
  const frames = found?.old ? ofVersion1(journal, generation) : journal.records.filter((each) => each.generation === generation);

  const captions = new Map<number, string>();
  const thumbnails = new Map<number, string>();
  const cut = found !== undefined && !found.old && !last && found.damaged === 0; // it is written whole
  const damaged = (found ? found.damaged : 1) + (cut ? 1 : 0) + journal.damaged;
  // Where a list of thumbnails is damaged, and in version 1, which had none, the files themselves tell.
  const told = new Map(damaged > 0 || found?.old ? thumbnailFiles.map((name) => [Number.parseInt(name, 10), name]) : []);
  for (const [id, name] of told) thumbnails.set(id, name);
  for (const { header } of [...records, ...frames]) if (header) apply(captions, thumbnails, header);
  const files = new Set(thumbnailFiles);
  let missing = 0;
  for (const [id, name] of thumbnails) {
    if (files.has(name)) continue;
    const another = told.get(id);
    if (another) thumbnails.set(id, another);
    else thumbnails.delete(id), (missing += 1);
  }

  return {
    format: whole?.header?.format ?? FORMAT,
    generation,
    model: whole?.header?.model ?? frames.find(({ header }) => header?.model !== undefined)?.header?.model, // the snapshot may be gone
    sequence: frames.at(-1)?.header?.sequence ?? whole?.header?.sequence ?? 0,
    snapshot: file ? snapshotIn(whole!, last?.header?.snapshot, file) : null,
    frames: frames.filter(({ body }) => body.length > 0),
    captions,
    thumbnails,
    damaged: damaged + missing,
    missing,
    journalEnd: journal.end,
    old: Boolean(found?.old) || journal.old,
  };
}

/** A journal of version 1 begins with a record that names its snapshot; any other journal is the rest of an interrupted `replace`. */
function ofVersion1({ records }: Found, generation: number): readonly FoundRecord[] {
  const [first, ...rest] = records;
  return first?.generation === generation ? rest : [];
}

/** The snapshot's bytes, as far as they are there; its beginning, without which there is nothing, from where it is whole. */
function snapshotIn(whole: FoundRecord, place: RecordHeader['snapshot'], file: Buffer): Uint8Array {
  if (!place) return whole.body;
  const snapshot = new Uint8Array(file.subarray(place.at, place.at + place.bytes));
  snapshot.set(Buffer.from(place.begins, 'base64').subarray(0, snapshot.length));
  return snapshot;
}

/** One field after the other: what has getters would lose them as `...attachments`. */
function changeOf({ cleared, removed, evicted, captions }: Attachments, thumbnails: [number, string][]): RecordHeader {
  return { cleared, removed, evicted, captions: [...captions], thumbnails };
}

/** The names of the thumbnails that are no longer any episode's. */
function apply(captions: Map<number, string>, thumbnails: Map<number, string>, change: RecordHeader): string[] {
  const { cleared = false, removed = [], evicted = [] } = change;
  const before = [...thumbnails.values()];
  applyCaptions(captions, { cleared, removed, captions: new Map(change.captions) });
  if (cleared) thumbnails.clear();
  for (const id of [...removed, ...evicted]) thumbnails.delete(id);
  for (const [id, name] of change.thumbnails ?? []) if (THUMBNAIL_NAME.test(name)) thumbnails.set(id, name);
  const after = new Set(thumbnails.values());
  return before.filter((name) => !after.has(name));
}

/** Whatever waits, or is larger than anything of ours, or large and something else, is refused unread. */
async function readRecords(path: string): Promise<Buffer | undefined> {
  return readRegular(path, MOST_BYTES, async (file, size) => {
    if (size <= LARGE_BYTES) return;
    const begins = Buffer.alloc(4);
    await file.read(begins, 0, 4, 0);
    if (!beginsLikeRecords(begins)) throw new BitMarError('invalid_state', `${path} is something else`);
  });
}

/** Undefined where there is nothing. A pipe is opened without waiting for its other end, and refused. */
async function readRegular(path: string, limit: number, look?: (file: FileHandle, size: number) => Promise<void>): Promise<Buffer | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, READ);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const there = await file.stat();
    if (!there.isFile()) throw new BitMarError('invalid_state', `${path} is no file`);
    if (there.size > limit) throw new BitMarError('invalid_state', `${path} is too large to be of a memory`);
    await look?.(file, there.size);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

async function withFile(path: string, flags: number, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform !== 'win32') await withFile(path, READ, (folder) => folder.sync()); // they cannot be synced there
}

/** Both names are the same file, which nobody changes in place; a copy where the file system has no links. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  if (from === to || !(await exists(from)) || (await exists(to))) return;
  await link(from, to).catch(async () => {
    if (!(await stat(from)).isFile()) return;
    // Under its name only when it is whole.
    await rm(`${to}.part`, { force: true });
    await copyFile(from, `${to}.part`, constants.COPYFILE_EXCL);
    await withFile(`${to}.part`, CHANGE, (file) => file.sync());
    await rename(`${to}.part`, to);
  });
}

/** What writers left that were killed: no save that they acknowledged needs it. */
async function removeParts(folders: readonly string[]): Promise<void> {
  for (const folder of folders) for (const name of await namesIn(folder)) if (PART_NAME.test(name)) await rm(join(folder, name), { force: true });
}

async function listThumbnails(folder: string): Promise<string[]> {
  return (await namesIn(join(folder, 'thumbnails'))).filter((name) => THUMBNAIL_NAME.test(name));
}

/** None where there is no such folder. Of one that cannot be read nobody knows. */
async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
}

async function exists(path: string): Promise<boolean> {
  return (await statOf(path)) !== undefined;
}

/** Undefined where there is nothing. */
async function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
}

/** Only of what is not there: every other error says nothing about that. */
function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Of a snapshot's file: its first record's prefix, in which the generation and a checksum are, and its size. */
function identityOf(begins: Uint8Array, size: number): string {
  return `${Buffer.from(begins.subarray(0, PREFIX_BYTES)).toString('hex')}:${size}`;
}
