// The stores of the memory that node has: a folder, and no store at all.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { appendFile, copyFile, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { promisify } from 'node:util';

import { code, path } from './helpers.mjs';

const STORE = path('web/bitmar/dist/store/file.js');
const { FileStore } = await import(STORE);
const { record, snapshotFile } = await import(path('web/bitmar/dist/store/records.js'));
const { MemoryStore } = await import(path('web/bitmar/dist/store/in-memory.js'));

const bytes = (...values) => Uint8Array.from(values);
const attachments = (given = {}) => ({ cleared: false, removed: [], evicted: [], captions: new Map(), thumbnails: new Map(), ...given });
const jpeg = (...values) => ({ type: 'image/jpeg', bytes: bytes(...values) });

describe('a store on the disk', () => {
  let folder, open;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bitmar-store-'));
    open = [];
  });
  afterEach(async () => {
    for (const store of open) store.close();
    await rm(folder, { recursive: true });
  });
  function store() {
    for (const other of open) other.close();
    open = [new FileStore(folder)];
    return open[0];
  }
  async function reloaded() {
    const { snapshot, frames, captions, thumbnails } = await store().load();
    return { snapshot: snapshot && [...snapshot], frames: frames.map((frame) => [...frame]), captions: [...captions], thumbnails: [...thumbnails] };
  }
  const NOTHING = { snapshot: null, frames: [], captions: [], thumbnails: [] };
  async function filled() {
    const full = store();
    await full.load();
    await full.replace(bytes(1, 2), 7, attachments({ captions: new Map([[1, 'a dog']]), thumbnails: new Map([[1, jpeg(9, 9)]]) }));
    assert.equal(await full.append(bytes(3), 7, attachments({ captions: new Map([[2, 'ein Hündchen']]) })), true);
    assert.equal(await full.append(bytes(4, 5), 7, attachments({ thumbnails: new Map([[2, { type: 'image/webp', bytes: bytes(8) }]]) })), true);
    return full;
  }
  const FILLED = { snapshot: [1, 2], frames: [[3], [4, 5]], captions: [[1, 'a dog'], [2, 'ein Hündchen']], thumbnails: [[1, 2], [2, 1]] };

  test('holds nothing at first, and then what was put into it', async () => {
    assert.deepEqual(await reloaded(), NOTHING);
    const full = await filled();
    assert.deepEqual(await full.thumbnail(2), { type: 'image/webp', bytes: Buffer.from([8]) });
    assert.equal(await full.thumbnail(7), undefined);
    assert.deepEqual(await reloaded(), FILLED);
  });

  test('a frame without a snapshot is refused', async () => {
    const empty = store();
    await empty.load();
    assert.equal(await empty.append(bytes(1), 7, attachments()), false);
    assert.deepEqual(await reloaded(), NOTHING);
  });

  test('removes captions and thumbnails with their episodes, and thumbnails alone', async () => {
    const full = await filled();
    await full.append(bytes(6), 7, attachments({ removed: [1], evicted: [2] }));
    assert.deepEqual(await reloaded(), { ...FILLED, frames: [[3], [4, 5], [6]], captions: [[2, 'ein Hündchen']], thumbnails: [] });
    assert.deepEqual(await readdir(join(folder, 'thumbnails')), []);
    await open[0].append(bytes(7), 7, attachments({ cleared: true, captions: new Map([[9, 'new']]), thumbnails: new Map([[9, jpeg(1)]]) }));
    const { captions, thumbnails } = await reloaded();
    assert.deepEqual({ captions, thumbnails }, { captions: [[9, 'new']], thumbnails: [[9, 1]] });
  });

  test('a snapshot takes the place of the journal', async () => {
    const full = await filled();
    await full.replace(bytes(7), 7, attachments());
    assert.deepEqual(await reloaded(), { ...FILLED, snapshot: [7], frames: [] });
    await open[0].append(bytes(8), 7, attachments());
    assert.deepEqual(await reloaded(), { ...FILLED, snapshot: [7], frames: [[8]] });
  });

  test('cut anywhere, the journal keeps its whole frames and takes new ones', async () => {
    await filled();
    const journal = join(folder, 'journal.bin');
    const whole = await readFile(journal);
    for (let length = 0; length < whole.length; length += 3) {
      await writeFile(journal, whole.subarray(0, length));
      const { snapshot, frames } = await reloaded();
      assert.deepEqual(snapshot, [1, 2]);
      assert.deepEqual(frames, FILLED.frames.slice(0, frames.length));
      assert.ok(frames.length < 2);
      assert.equal(await open[0].append(bytes(99), 7, attachments()), true);
      assert.deepEqual((await reloaded()).frames, [...frames, [99]], `${length} of ${whole.length} bytes`);
    }
  });

  test('a torn end of the journal is damage only where no killed process leaves that', async () => {
    await filled();
    const journal = join(folder, 'journal.bin');
    const whole = await readFile(journal);
    const last = whole.lastIndexOf('BMR2');
    const damagedWith = async (end) => {
      await writeFile(journal, end);
      return (await store().load()).damaged;
    };
    for (let length = last; length < whole.length; length += 1) assert.equal(await damagedWith(whole.subarray(0, length)), 0, `${length - last} bytes`);
    for (const at of [0, 5, 13, 20, 27, 33, 60]) {
      const end = Buffer.from(whole.subarray(0, -1));
      end[last + at] ^= 1;
      assert.equal(await damagedWith(end), 1, `byte ${at} of a record without its end`);
    }
    for (const end of [Buffer.alloc(1), Buffer.alloc(40), Buffer.from('BMRX')]) assert.equal(await damagedWith(Buffer.concat([whole, end])), 1);
  });

  test('what is set aside stays as it is, also when the memory is written in place', async () => {
    const full = await filled();
    const before = await readFile(join(folder, 'journal.bin'));
    await full.setAside();
    assert.equal(await full.append(bytes(6), 7, attachments()), true);
    assert.deepEqual(await readFile(join(folder, 'aside/damaged-1/journal.bin')), before);
    assert.deepEqual((await reloaded()).frames, [[3], [4, 5], [6]]);
  });

  test('a torn tail of garbage is dropped', async () => {
    await filled();
    await appendFile(join(folder, 'journal.bin'), Buffer.alloc(500, 0xa5));
    assert.deepEqual(await reloaded(), FILLED);
    await appendFile(join(folder, 'journal.bin'), Buffer.alloc(500));
    assert.deepEqual(await reloaded(), FILLED);
    await open[0].append(bytes(6), 7, attachments());
    assert.deepEqual((await reloaded()).frames, [...FILLED.frames, [6]]);
  });

  test('interrupted between the new snapshot and its journal: the old journal is not applied to it', async () => {
    const full = await filled();
    const journal = join(folder, 'journal.bin');
    await copyFile(journal, `${journal}.old`);
    await full.replace(bytes(7), 7, attachments());
    await rename(`${journal}.old`, journal);
    assert.deepEqual(await reloaded(), { ...FILLED, snapshot: [7], frames: [] });
    await rm(journal);
    assert.deepEqual(await reloaded(), { ...FILLED, snapshot: [7], frames: [] });
  });

  test('a snapshot cut short is the engine’s to judge; something else is refused and left alone', async () => {
    await filled();
    const snapshot = join(folder, 'snapshot.bin');
    const whole = await readFile(snapshot);
    let refused = 0;
    for (let length = whole.length - 1; length > 0; length -= 1) {
      await truncate(snapshot, length);
      const state = await store().load().catch(code('invalid_state'));
      if (state === true) {
        refused += 1;
        continue;
      }
      assert.deepEqual([...state.snapshot], [1, 2].slice(0, state.snapshot.length), `${length} of ${whole.length}`);
      assert.ok(state.damaged > 0);
    }
    assert.ok(refused > 0 && refused < whole.length - 1, `${refused} of ${whole.length - 1} refused`);
    await writeFile(snapshot, 'hello');
    await assert.rejects(store().load(), code('invalid_state'));
    assert.equal(await readFile(snapshot, 'utf8'), 'hello');
  });

  test('a newer format is refused', async () => {
    await filled();
    await writeFile(join(folder, 'snapshot.bin'), record(1, { format: 3 }, bytes(1)));
    await assert.rejects(store().load(), code('unsupported_state'));
  });

  test('a folder that was removed meanwhile', async () => {
    const full = await filled();
    await rm(folder, { recursive: true });
    assert.equal(await full.append(bytes(6), 7, attachments()), false);
    await full.replace(bytes(7), 7, attachments());
    assert.equal(await full.append(bytes(8), 7, attachments()), true);
    const { snapshot, frames } = await reloaded();
    assert.deepEqual({ snapshot, frames }, { snapshot: [7], frames: [[8]] });
  });

  test('only the snapshot, or only the journal, deleted meanwhile: the frame is refused, and what is left is not lost', async () => {
    for (const name of ['snapshot.bin', 'journal.bin']) {
      const full = await filled();
      assert.equal(await full.holds(), true);
      await rm(join(folder, name));
      assert.equal(await full.holds(), false, name);
      assert.equal(await full.append(bytes(6), 7, attachments()), false, name);
      assert.deepEqual(Buffer.from((await full.thumbnail(1)).bytes), Buffer.from([9, 9]));
    }
    // A session later: the journal that has lost its snapshot still says what it knows.
    await filled();
    await rm(join(folder, 'snapshot.bin'));
    const { snapshot, frames, damaged } = await store().load();
    assert.deepEqual([snapshot, frames.map((frame) => [...frame]), damaged], [null, [[3], [4, 5]], 1]);
  });

  test('what another process has written meanwhile is not overwritten', async () => {
    const full = await filled();
    await appendFile(join(folder, 'journal.bin'), await readFile(join(folder, 'journal.bin')));
    await assert.rejects(full.append(bytes(6), 7, attachments()), code('storage_blocked'));
    const own = await readFile(join(folder, 'snapshot.bin'));
    await writeFile(join(folder, 'snapshot.bin'), snapshotFile(99, { model: undefined, sequence: 7 }, bytes(8), new Map(), new Map()));
    await assert.rejects(full.replace(bytes(7), 7, attachments()), code('storage_blocked'));
    await writeFile(join(folder, 'snapshot.bin'), own);
    assert.deepEqual((await reloaded()).frames, [[3], [4, 5], [3], [4, 5]]);
  });

  test('a folder that cannot be one', async () => {
    await writeFile(join(folder, 'file'), '');
    const none = new FileStore(join(folder, 'file'));
    await assert.rejects(none.load(), code('storage_unavailable'));
  });

  test('one process at a time; a killed one leaves no lock behind', async () => {
    await filled();
    await assert.rejects(new FileStore(folder).load(), code('storage_blocked'));
    open.pop().close();
    const script = `
      const { FileStore } = await import(${JSON.stringify(STORE)});
      await new FileStore(${JSON.stringify(folder)}).load();
      console.log('holds it');
      setInterval(() => {}, 1000);`;
    const other = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => other.stdout.once('data', resolve));
    await assert.rejects(store().load(), code('storage_blocked'));
    const dead = new Promise((resolve) => other.once('exit', resolve));
    other.kill('SIGKILL');
    await dead;
    assert.deepEqual(await reloaded(), FILLED);
  });

  test('closed while it loads or writes: the work ends first, and the lock is given back', async () => {
    const writing = await filled();
    const appended = writing.append(bytes(6), 7, attachments());
    writing.close();
    assert.equal(await appended, true);
    await assert.rejects(writing.append(bytes(7), 7, attachments()), code('disposed'));
    const loading = new FileStore(folder);
    const loaded = loading.load();
    loading.close();
    await loaded;
    assert.deepEqual((await reloaded()).frames, [[3], [4, 5], [6]]);
  });

  test('keeps no process alive', async () => {
    const script = `const { FileStore } = await import(${JSON.stringify(STORE)}); await new FileStore(${JSON.stringify(folder)}).load();`;
    await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 120_000 });
  });
});

test('a store in memory: thumbnails only', async () => {
  const store = new MemoryStore();
  await store.replace(bytes(1), 7, attachments({ thumbnails: new Map([[1, jpeg(1)], [2, jpeg(2)]]) }));
  assert.equal(await store.append(bytes(1), 7, attachments({ evicted: [1] })), true);
  assert.equal(await store.thumbnail(1), undefined);
  assert.deepEqual(await store.thumbnail(2), jpeg(2));
  assert.equal((await store.load()).snapshot, null);
  assert.equal(store.durable, false);
});
