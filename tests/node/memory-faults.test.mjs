// What once lost a memory, or kept it from being saved, under node: each is the small form of a fault that somebody found.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, otherTinyModel, path, picture, png, TINY } from './helpers.mjs';

const NOW = 1_800_000_000_000;
const photo = (i) => picture(40 + 9 * i, 20 + ((i * 37) % 60), i + 1);
const thumbnail = (i, size = 6) => new Blob([png(picture(size, size, i + 1))], { type: 'image/png' });

let base, folder, models;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'bitmar-faults-'));
  folder = join(base, 'memory');
  models = [];
});
afterEach(async () => {
  for (const model of models) model.dispose();
  await rm(base, { recursive: true, maxRetries: 3 });
});

/** Another session with the memory in that folder. */
async function open(options = {}, directory = TINY) {
  models.pop()?.dispose();
  models.push(await BitMar.load(directory, { worker: false, memory: { folder, slots: 64, autosaveMs: 1e6, earlier: 'leave', ...options } }));
  return models[0].memory;
}
const everything = async (memory) => (await memory.list({ limit: 100_000 })).episodes;
const labels = async (memory) => (await everything(memory)).map(({ label }) => label).sort();

/** That many episodes with thumbnails, each saved by itself. */
async function fill(memory, count = 3) {
  for (let i = 0; i < count; i += 1) {
    await memory.teach(photo(i), `name ${i}`, { now: NOW + i, thumbnail: thumbnail(i) });
    await memory.flush();
  }
}

/** As somebody does it whose memory cannot be read. */
async function begunAnew(memory) {
  const empty = await BitMar.load(TINY, { worker: false, memory: { persist: false } });
  await memory.import(await empty.memory.export());
  empty.dispose();
}

/** All files below the folder. */
async function filesIn(place) {
  const entries = await readdir(place, { recursive: true, withFileTypes: true });
  return Promise.all(entries.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath ?? entry.path, entry.name))));
}
const isKept = async (bytes) => (await filesIn(folder)).some((file) => file.equals(bytes));

describe('a memory that another model has put aside', () => {
  const aside = async () => join(folder, 'aside', (await readdir(join(folder, 'aside'))).find((name) => name.length === 64));

  for (const [what, name, damage] of [
    ['in one frame', 'journal.bin', (bytes) => (bytes[5] ^= 4)],
    ['so that nothing can be read', 'snapshot.bin', (bytes) => bytes.fill(0xff)],
  ]) {
    test(`and that is damaged there, ${what}: its bytes are kept when it is written again`, async () => {
      await fill(await open());
      const other = await otherTinyModel(join(base, 'other'));
      await (await open({}, other)).teach(photo(4), 'theirs');
      await models[0].memory.flush();
      const file = join(await aside(), name);
      const bytes = await readFile(file);
      damage(bytes);
      await writeFile(file, bytes);
      let memory = await open();
      const { damaged, error } = await memory.open();
      assert.ok(damaged > 0 || error.code === 'invalid_state');
      if (error) await begunAnew(memory);
      else await memory.touch((await everything(memory))[0].id);
      await memory.flush();
      assert.ok(await isKept(bytes));
      assert.deepEqual(await readFile(join(folder, 'aside/damaged-1', name)), bytes);
      assert.equal((await readdir(join(folder, 'aside/damaged-1/thumbnails'))).length, 3);
      memory = await open({}, other);
      assert.deepEqual(await labels(memory), ['theirs']);
    });
  }

  test('and whose place is damaged: what was never read is not deleted', async () => {
    await fill(await open());
    const other = await otherTinyModel(join(base, 'other'));
    await (await open({}, other)).teach(photo(4), 'theirs');
    await models[0].memory.flush();
    const [ours, theirs] = await Promise.all([join(await aside(), 'journal.bin'), join(folder, 'snapshot.bin')].map((file) => readFile(file)));
    theirs.fill(0xff);
    await writeFile(join(folder, 'snapshot.bin'), theirs);
    const memory = await open();
    assert.equal((await memory.open()).error.code, 'invalid_state');
    await begunAnew(memory);
    await memory.flush();
    assert.ok(await isKept(theirs));
    assert.ok(await isKept(ours));
  });
});

describe('what cannot be read is not taken for nothing', () => {
  test('a thumbnail that is missing is counted', async () => {
    await fill(await open());
    const [name] = await readdir(join(folder, 'thumbnails'));
    await rm(join(folder, 'thumbnails', name));
    let memory = await open();
    assert.equal((await memory.open()).damaged, 1);
    await memory.touch(1);
    await memory.flush();
    memory = await open();
    assert.equal((await memory.open()).damaged, 0); // told once
    const found = await Promise.all((await everything(memory)).map(({ id }) => memory.thumbnail(id)));
    assert.equal(found.filter(Boolean).length, 2);
  });

  /** A process without root's rights, in which `run` is the body of a function of `memory`. */
  function withoutRights(run) {
    const script = `
      import { BitMar } from ${JSON.stringify(path('web/bitmar/dist/index-node.js'))};
      import ${JSON.stringify(path('web/bitmar/dist/store-file.js'))};
      import { picture } from ${JSON.stringify(path('tests/node/helpers.mjs'))};
      const { memory } = await BitMar.load(${JSON.stringify(TINY)}, { worker: false, memory: { folder: ${JSON.stringify(folder)}, slots: 64, autosaveMs: 1e6 } });
      if (process.getuid() === 0) process.setuid(65534);
      const said = await (async () => { ${run} })();
      console.log(JSON.stringify(said));
      process.exit();`;
    return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }));
  }
  const openToAll = async () => {
    await chmod(base, 0o777);
    execFileSync('chmod', ['-R', 'a+rwX', folder]);
  };

  test('a folder of thumbnails that may not be listed', { skip: process.platform === 'win32' }, async () => {
    await fill(await open());
    models.pop().dispose();
    await openToAll();
    await chmod(join(folder, 'thumbnails'), 0o300);
    const said = withoutRights(`
      const { error } = await memory.open();
      await memory.teach(picture(90, 90, 9), 'more').catch(() => {});
      await memory.export().then((file) => memory.import(file)).catch(() => {});
      return [error?.code, await memory.flush().then(() => 'saved', ({ code }) => code)];`);
    assert.deepEqual(said, ['storage_unavailable', 'storage_unavailable']);
    await chmod(join(folder, 'thumbnails'), 0o755);
    const memory = await open();
    assert.equal((await memory.open()).damaged, 0);
    const found = await Promise.all((await everything(memory)).map(({ id }) => memory.thumbnail(id)));
    assert.equal(found.filter(Boolean).length, 3);
  });

  test('what was set aside and may not be listed: nothing is acknowledged as forgotten', { skip: process.platform === 'win32' }, async () => {
    await fill(await open());
    models.pop().dispose();
    const journal = await readFile(join(folder, 'journal.bin'));
    journal[5] ^= 4;
    await writeFile(join(folder, 'journal.bin'), journal);
    const memory = await open();
    await memory.touch(1);
    await memory.flush(); // sets aside
    models.pop().dispose();
    await openToAll();
    await chmod(join(folder, 'aside'), 0o300);
    const saved = "memory.flush().then(() => 'saved', ({ code }) => code)";
    assert.equal(withoutRights(`await memory.forget(1); return ${saved};`), 'storage_unavailable');
    assert.equal(withoutRights(`await memory.clear(); return ${saved};`), 'storage_unavailable');
    await chmod(join(folder, 'aside'), 0o755);
    await (await open()).clear();
    await models[0].memory.flush();
    assert.deepEqual(await readdir(join(folder, 'aside')), []);
  });
});

describe('what else is done with the files', () => {
  test('touched or copied while they are open: the next flush saves', async () => {
    const memory = await open();
    await fill(memory, 1);
    await utimes(join(folder, 'snapshot.bin'), new Date(), new Date());
    await memory.teach(photo(1), 'more');
    await memory.flush();
    const bytes = await readFile(join(folder, 'snapshot.bin'));
    await rm(join(folder, 'snapshot.bin'));
    await writeFile(join(folder, 'snapshot.bin'), bytes);
    await memory.teach(photo(2), 'and more');
    await memory.flush();
    assert.deepEqual(await labels(await open()), ['and more', 'more', 'name 0']);
  });

  for (const name of ['snapshot.bin.part', 'journal.bin.part', 'journal.bin', 'snapshot.bin']) {
    test(`a pipe in the place of ${name}: nothing waits for its other end`, { skip: process.platform === 'win32', timeout: 20_000 }, async () => {
      const memory = await open();
      await fill(memory, 1);
      await rm(join(folder, name), { force: true });
      execFileSync('mkfifo', [join(folder, name)]);
      await memory.teach(photo(1), 'more');
      await memory.import(await memory.export());
      await memory.flush().catch(code('storage_blocked'));
      if (name === 'snapshot.bin') return;
      await memory.flush();
      assert.deepEqual(await labels(await open()), ['more', 'name 0']);
    });
  }
});
