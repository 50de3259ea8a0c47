// Bits that flip on the disk, and things that are no files of a memory: nothing is changed silently, nothing else is lost, and no byte is
// destroyed by reading. BITMAR_FLIPS says how many flips (default 200), BITMAR_SEED repeats them.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { randomFrom } from '../chaos.mjs';
import { code, engineModule, engineOf, path, picture, png, TINY } from './helpers.mjs';

const { FileStore } = await import(path('web/bitmar/dist/store/file.js'));
const FLIPS = Number(process.env.BITMAR_FLIPS ?? 200);
const SEED = Number(process.env.BITMAR_SEED ?? Date.now() % 1_000_000);
const NOW = 1_800_000_000_000;

let base, models;
before(async () => (base = await mkdtemp(join(tmpdir(), 'bitmar-damage-'))));
after(() => rm(base, { recursive: true }));
beforeEach(() => (models = []));
afterEach(() => {
  for (const model of models) model.dispose();
});

async function memoryIn(folder, options = {}) {
  const model = await BitMar.load(TINY, { worker: false, memory: { folder, ...options } });
  models.push(model);
  return model.memory;
}
const dispose = () => models.pop().dispose();

/** An engine alone, to read what a store has read. */
const engine = async () => engineOf(await engineModule());

/** Three episodes in the snapshot, two in the journal, with captions and pictures. */
async function fill(folder) {
  const memory = await memoryIn(folder, { slots: 64 });
  const add = async (i) => {
    const thumbnail = new Blob([png(picture(8, 8, i + 1))], { type: 'image/png' });
    await memory.teach(picture(40 + 9 * i, 20 + (i * 37) % 60, i + 1), `label ${i}`, { now: NOW + i, thumbnail });
    await memory.write(picture(40 + 9 * i, 20 + (i * 37) % 60, i + 1), { now: NOW + i });
    await memory.flush();
  };
  for (let i = 0; i < 2; i += 1) await add(i);
  await memory.import(await memory.export()); // everything so far into a snapshot
  for (let i = 2; i < 5; i += 1) await add(i);
  dispose();
}

describe('flipped bits', () => {
  test(`${FLIPS} of them, one at a time (BITMAR_SEED=${SEED})`, async () => {
    const folder = join(base, 'flips');
    await fill(folder);
    const reader = await engine();
    const read = async () => {
      const store = new FileStore(folder);
      const state = await store.load();
      store.close();
      const { droppedSlots, droppedFrames, gaps } = reader.memoryLoad(state.snapshot, state.frames, false);
      const damaged = state.damaged + droppedSlots + droppedFrames || gaps;
      const episodes = new Map(reader.memoryList().map((episode) => [episode.id, JSON.stringify(episode)]));
      return { episodes, captions: state.captions, thumbnails: state.thumbnails, damaged };
    };
    const whole = await read();
    assert.deepEqual([whole.episodes.size, whole.captions.size, whole.thumbnails.size, whole.damaged], [5, 5, 5, 0]);

    const random = randomFrom(SEED);
    const files = {};
    for (const name of ['snapshot.bin', 'journal.bin']) files[name] = await readFile(join(folder, name));
    const kinds = { fine: 0, caption: 0, episode: 0 };
    for (let i = 0; i < FLIPS; i += 1) {
      const name = random() < 0.5 ? 'snapshot.bin' : 'journal.bin';
      const bit = Math.floor(random() * 8 * files[name].length);
      const bytes = Buffer.from(files[name]);
      bytes[bit >> 3] ^= 1 << (bit & 7);
      await writeFile(join(folder, name), bytes);
      const found = await read();
      const where = `bit ${bit & 7} of byte ${bit >> 3} of ${bytes.length} of ${name}`;
      for (const part of ['episodes', 'captions', 'thumbnails']) {
        for (const [id, value] of found[part]) {
          // A frame that is missing leaves its episodes as they were before: written once, met again later.
          if (part === 'episodes' && found.damaged && JSON.parse(value).strength < JSON.parse(whole.episodes.get(id)).strength) continue;
          assert.equal(value, whole[part].get(id), `${part} ${id} changed: ${where}`);
        }
      }
      const lost = (part) => whole[part].size - found[part].size;
      assert.ok(lost('episodes') <= 1, `${lost('episodes')} episodes lost: ${where}`);
      assert.ok(lost('captions') <= 1, `${lost('captions')} captions lost: ${where}`);
      assert.equal(lost('thumbnails'), 0, where); // their files tell
      if (lost('episodes') + lost('captions') > 0) assert.ok(found.damaged > 0, `silent: ${where}`);
      kinds[lost('episodes') ? 'episode' : lost('captions') ? 'caption' : 'fine'] += 1;
      assert.deepEqual(await readFile(join(folder, name)), bytes, 'reading changed a file');
      await writeFile(join(folder, name), files[name]);
    }
    assert.deepEqual((await readdir(folder)).sort(), ['journal.bin', 'lock', 'snapshot.bin', 'thumbnails']);
    if (FLIPS >= 200) assert.ok(Object.values(kinds).every((count) => count > 10), JSON.stringify(kinds));
  });

  test('damage is counted, told, set aside before anything is written, and over after that', async () => {
    const folder = join(base, 'told');
    await fill(folder);
    const journal = join(folder, 'journal.bin');
    const bytes = await readFile(journal);
    bytes[5] ^= 4; // a frame's prefix: once it cut off everything behind it
    await writeFile(journal, bytes);
    let memory = await memoryIn(folder);
    const told = [];
    memory.addEventListener('storage', ({ status }) => told.push(status.damaged));
    const { damaged, occupied } = await memory.stats();
    assert.deepEqual([damaged, occupied, told], [1, 4, [1]]);
    assert.deepEqual(await readFile(journal), bytes);
    await memory.write(picture(10, 10), { now: NOW + 9 });
    await memory.flush();
    assert.deepEqual(await readFile(join(folder, 'aside/damaged-1/journal.bin')), bytes);
    dispose();
    memory = await memoryIn(folder);
    assert.equal((await memory.stats()).damaged, 0);
    await memory.clear(); // wants nothing kept
    await memory.flush();
    assert.deepEqual(await readdir(join(folder, 'aside')), []);
  });


  test('what is forgotten goes from what was set aside, damaged or not; nothing else does', async () => {
    const folder = join(base, 'forgotten');
    await fill(folder);
    const [snapshotFile, journalFile] = ['snapshot.bin', 'journal.bin'].map((name) => join(folder, name));
    const snapshot = await readFile(snapshotFile);
    const journal = await readFile(journalFile);
    // An episode of the snapshot whose record there is damaged, and one of the journal; a frame between is damaged, too.
    const recordOf = (file, label) => file.indexOf(label) - 40; // the label is at byte 40 of a record
    const size = 104 + 8 * snapshot.readUInt32LE(snapshot.indexOf('BMEM') + 8) + 4;
    const damagedAt = recordOf(snapshot, 'label 1');
    snapshot[damagedAt + 60] ^= 1;
    await writeFile(snapshotFile, snapshot);
    journal[5] ^= 4;
    await writeFile(journalFile, Buffer.concat([journal, journal.subarray(0, 40)])); // and something cut off at the end
    const idAt = (file, label) => Number(file.readBigUInt64LE(recordOf(file, label) + 16));
    const ids = { 'label 0': idAt(snapshot, 'label 0'), 'label 1': idAt(snapshot, 'label 1'), 'label 4': idAt(journal, 'label 4') };
    const privates = [...['label 0', 'label 1'].map((label) => [snapshot, label]), [journal, 'label 4']].map(([file, label]) => {
      const at = recordOf(file, label);
      return [Buffer.from(label), file.subarray(at + 104, at + size - 4)]; // its name and its vectors
    });

    const reader = await engine();
    const aside = join(folder, 'aside/damaged-1');
    const read = async () => {
      const store = new FileStore(aside, { readOnly: true });
      const state = await store.load();
      const { droppedSlots, droppedFrames } = reader.memoryLoad(state.snapshot, state.frames, false);
      const episodes = reader.memoryList().map(({ id, label }) => [id, label]);
      const pictures = await Promise.all([...state.thumbnails.keys()].map(async (id) => [id, (await store.thumbnail(id)).bytes.length]));
      store.close();
      return { episodes, captions: [...state.captions], pictures, damaged: state.damaged + droppedSlots + droppedFrames };
    };
    const bytesAside = async () => Buffer.concat(await Promise.all(['snapshot.bin', 'journal.bin'].map((name) => readFile(join(aside, name)))));

    let memory = await memoryIn(folder, { autosaveMs: 1e6 });
    await memory.touch(ids['label 0'], { now: NOW + 99 });
    await memory.flush(); // sets aside
    const before = await read();
    assert.ok(before.episodes.some(([, label]) => label === 'label 0') && before.damaged > 0);
    for (const bytes of privates.flat()) assert.ok((await bytesAside()).includes(bytes));
    for (const id of [ids['label 0'], ids['label 4']]) assert.equal(await memory.forget(id), true);
    await memory.flush();
    const after = await read();
    const gone = new Set([ids['label 0'], ids['label 4']]);
    const stay = ([id]) => !gone.has(id);
    assert.deepEqual(after.episodes.filter(([, label]) => label !== null), before.episodes.filter(stay).filter(([, label]) => label !== null));
    assert.deepEqual(after.captions.filter(stay), before.captions.filter(stay));
    assert.deepEqual(after.captions.filter(([id, text]) => gone.has(id) && text.trim()), []);
    assert.deepEqual(after.pictures, before.pictures.filter(stay));
    assert.equal(after.damaged, before.damaged);
    for (const bytes of [...privates[0], ...privates[2]]) assert.ok(!(await bytesAside()).includes(bytes));
    for (const bytes of privates[1]) assert.ok((await bytesAside()).includes(bytes), 'not forgotten');

    // Of what is damaged, too. The memory itself has lost it, so that only the store can be asked.
    dispose();
    const store = new FileStore(folder);
    await store.load();
    await store.eraseAside([ids['label 1']]);
    store.close();
    for (const bytes of privates.flat()) assert.ok(!(await bytesAside()).includes(bytes));
    assert.equal((await bytesAside()).length, snapshot.length + journal.length + 40);
    memory = await memoryIn(folder);
    assert.equal((await memory.stats()).damaged, 0);
  });

  test('a thumbnail', async () => {
    const folder = join(base, 'thumbnail');
    await fill(folder);
    const [name] = (await readdir(join(folder, 'thumbnails'))).sort();
    const bytes = await readFile(join(folder, 'thumbnails', name));
    bytes[50] ^= 1;
    await writeFile(join(folder, 'thumbnails', name), bytes);
    const memory = await memoryIn(folder);
    const ids = (await memory.list()).episodes.map(({ id }) => id);
    const found = await Promise.all(ids.map((id) => memory.thumbnail(id)));
    assert.equal(found.filter(Boolean).length, 4);
    assert.equal(memory.storage.damaged, 1);
    assert.ok((await memory.export()).size > 0);
  });
});

describe('the format of the version before', () => {
  const copy = async (name) => {
    const folder = join(base, name);
    await cp(path('tests/node/fixtures/memory-v1'), folder, { recursive: true });
    return folder;
  };
  const labels = async (memory) => (await memory.list()).episodes.map(({ label, caption }) => [label, caption !== null]);

  test('opens, and is written anew with the next change', async () => {
    const folder = await copy('v1');
    const before = await readFile(join(folder, 'snapshot.bin'));
    let memory = await memoryIn(folder);
    const expected = [['label 4', false], ['label 2', true], ['label 1', false]];
    assert.deepEqual(await labels(memory), expected);
    assert.equal(memory.storage.damaged, 0);
    assert.deepEqual(await readFile(join(folder, 'snapshot.bin')), before);
    const ids = (await memory.list()).episodes.map(({ id }) => id);
    const pictured = async () => (await Promise.all(ids.map((id) => memory.thumbnail(id)))).map((blob) => blob?.type);
    assert.deepEqual(await pictured(), [undefined, 'image/png', 'image/png']);
    await memory.touch(ids[0]);
    await memory.flush();
    assert.notDeepEqual((await readFile(join(folder, 'snapshot.bin'))).subarray(0, 4), before.subarray(0, 4));
    dispose();
    memory = await memoryIn(folder);
    assert.deepEqual(await labels(memory), expected);
    assert.deepEqual(await pictured(), [undefined, 'image/png', 'image/png']);
  });

  test('damaged in a frame’s prefix, keeps the frames behind it', async () => {
    const folder = await copy('v1-damaged');
    const journal = await readFile(join(folder, 'journal.bin'));
    const second = journal.indexOf('BMRM', 4);
    journal[second + 1] ^= 1;
    await writeFile(join(folder, 'journal.bin'), journal);
    const memory = await memoryIn(folder);
    assert.equal((await labels(memory))[0][0], 'label 4');
    assert.ok(memory.storage.damaged > 0);
  });
});

describe('what is no file of a memory', () => {
  async function refused(folder, name) {
    const memory = await memoryIn(folder);
    assert.equal((await memory.open()).error?.code, 'invalid_state', name);
    await assert.rejects(memory.flush(), code('invalid_state'));
    dispose();
  }

  test('a pipe, a folder and 600 MB of zeros in a file’s place are refused unread', async () => {
    for (const name of ['snapshot.bin', 'journal.bin']) {
      const folder = join(base, `hostile-${name}`);
      await fill(folder);
      const place = join(folder, name);
      await rm(place);
      if (process.platform !== 'win32') {
        execFileSync('mkfifo', [place]);
        await refused(folder, 'a pipe');
        await rm(place);
      }
      for (const size of [600 << 20, 300 << 20]) {
        const zeros = await open(place, 'w');
        await zeros.truncate(size);
        await zeros.close();
        const before = process.memoryUsage().rss;
        await refused(folder, `${size} zeros`);
        assert.ok(process.memoryUsage().rss - before < 150 << 20, 'they were read');
        await rm(place);
      }
    }
  });
});

test('a folder that cannot be written opens with its episodes, to be read', { skip: process.platform === 'win32' }, async () => {
  const folder = join(base, 'read-only');
  await fill(folder);
  await chmod(base, 0o755);
  await chmod(folder, 0o555);
  // Root may write everything: a child does without it.
  const script = `
    import ${JSON.stringify(path('web/bitmar/dist/store/file.js'))};
    import { BitMar } from ${JSON.stringify(path('web/bitmar/dist/index-node.js'))};
    import { picture } from ${JSON.stringify(path('tests/node/helpers.mjs'))};
    const { memory } = await BitMar.load(${JSON.stringify(TINY)}, { worker: false, memory: { folder: ${JSON.stringify(folder)} } });
    if (process.getuid() === 0) process.setuid(65534);
    const { role, durable, error } = await memory.open();
    const { episodes } = await memory.list();
    const thumbnails = await Promise.all(episodes.map(({ id }) => memory.thumbnail(id)));
    const write = await memory.write(picture(9, 9)).catch(({ code }) => code);
    await memory.flush();
    console.log(JSON.stringify([role, durable, error?.code, episodes.length, thumbnails.filter(Boolean).length, write]));`;
  try {
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.deepEqual(JSON.parse(said), ['reader', false, 'read_only', 5, 5, 'read_only']);
  } finally {
    await chmod(folder, 0o755);
  }
});
