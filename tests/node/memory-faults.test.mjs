// What once lost a memory, or kept it from being saved, under node: each is the small form of a fault that somebody found.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { BitMar } from 'bitmar';
import { code, otherTinyModel, path, picture, png, TINY } from './helpers.mjs';
import { base, everything, filesIn, folder, labels, models, nextSession } from './memory-helpers.mjs';

const NOW = 1_800_000_000_000;
const photo = (i) => picture(40 + 9 * i, 20 + ((i * 37) % 60), i + 1);
const thumbnail = (i, size = 6) => new Blob([png(picture(size, size, i + 1))], { type: 'image/png' });

/** Another session with the memory in that folder. */
const open = (options = {}, directory = TINY) => nextSession({ slots: 64, earlier: 'leave', ...options }, directory);

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
      import ${JSON.stringify(path('web/bitmar/dist/store/file.js'))};
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
    test(`a pipe in the place of ${name}: nothing waits for its other end`, { skip: process.platform === 'win32', timeout: 120_000 }, async () => {
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

/** Whose contents come only when the test says so. */
function slowThumbnail(i) {
  const file = thumbnail(i);
  let ready;
  const given = new Promise((resolve) => (ready = resolve));
  file.arrayBuffer = () => given.then(() => Blob.prototype.arrayBuffer.call(file));
  return { file, ready };
}

describe('a thumbnail that is still being made', () => {
  const inFolder = () => readdir(join(folder, 'thumbnails'));
  /** Until the episode is written; its thumbnail is not made yet. */
  async function written(memory, i) {
    const { file, ready } = slowThumbnail(i);
    const told = new Promise((resolve) => memory.addEventListener('change', ({ change, id }) => change === 'teach' && resolve(id)));
    const teaching = memory.teach(photo(i), `mine ${i}`, { thumbnail: file });
    return { id: await told, made: () => (ready(), teaching) };
  }

  test('does not come to an episode of an import, nor after forget or clear', async () => {
    let memory = await open();
    await memory.teach(photo(5), 'theirs');
    const file = await memory.export();
    for (const change of [(id) => memory.forget(id), () => memory.clear(), () => memory.import(file)]) {
      await rm(folder, { recursive: true });
      memory = await open();
      const { id, made } = await written(memory, 0);
      assert.equal(id, 1);
      await change(id);
      await made();
      await memory.flush();
      assert.equal(await memory.thumbnail(id), undefined, `${change}`);
      assert.deepEqual([(await memory.stats()).thumbnailBytes, await inFolder()], [0, []]);
    }
  });

  test('goes with its episode where that is replaced meanwhile', async () => {
    const memory = await open({ slots: 1 });
    const pending = [];
    for (let i = 0; i < 3; i += 1) pending.push(await written(memory, i));
    for (const { made } of pending) await made();
    await memory.flush();
    assert.deepEqual([(await everything(memory)).length, (await inFolder()).length], [1, 1]);
  });
});

test('a thumbnail is there while it is saved', async () => {
  const memory = await open();
  const { id } = await memory.teach(photo(0), 'one', { thumbnail: thumbnail(0) });
  let saving = true;
  const saved = memory.flush().finally(() => (saving = false));
  while (saving) {
    assert.ok(await memory.thumbnail(id));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await saved;
  assert.equal(memory.storage.damaged, 0);
});

describe('an export', () => {
  test('with any type of thumbnail is imported again, saved before or not', async () => {
    const types = { 'image/jpeg': 'image/jpeg', 'image/jpeg;q=1': 'image/jpeg', 'IMAGE/PNG; charset=binary': 'image/png', 'image/svg+xml': 'image/svg+xml', 'image/vnd.x-y': 'image/vnd.x-y', '': 'image/png' };
    for (const [type, stored] of Object.entries(types)) {
      for (const save of [false, true]) {
        await rm(folder, { recursive: true, force: true });
        let memory = await open();
        const { id } = await memory.teach(photo(0), 'one', { thumbnail: new Blob([png(photo(0))], { type }) });
        if (save) {
          await memory.flush();
          memory = await open();
        }
        assert.equal((await memory.thumbnail(id)).type, stored, type);
        await memory.import(await memory.export());
        assert.equal((await memory.thumbnail(id)).type, stored, type);
      }
    }
    const memory = await open();
    for (const type of ['text/plain', 'application/octet-stream', 'image/', 'video/mp4']) {
      await assert.rejects(memory.teach(photo(1), 'two', { thumbnail: new Blob([png(photo(0))], { type }) }), code('invalid_argument'), type);
    }
  });

  test('has no thumbnail that nobody could read: one of more than 64 MiB is refused', async () => {
    const memory = await open({ thumbnailBytes: 300e6 });
    const file = new Blob([new Uint8Array((64 << 20) + 1)], { type: 'image/png' });
    await assert.rejects(memory.teach(photo(0), 'one', { thumbnail: file }), code('invalid_argument'));
    assert.deepEqual(await everything(memory), []);
  });
});

describe('what is forgotten', () => {
  const isThere = async (text) => (await filesIn(folder)).some((file) => file.includes(text));

  test('is in no file after the next flush', async () => {
    const memory = await open();
    const { id } = await memory.teach(photo(0), 'a secret name', { thumbnail: thumbnail(0) });
    await memory.teach(photo(1), 'another');
    await memory.flush();
    await memory.teach(photo(2), 'more');
    await memory.flush();
    assert.ok(await isThere('a secret name'));
    await memory.forget(id);
    await memory.flush();
    assert.ok(!(await isThere('a secret name')));
    assert.ok(await isThere('another'));
  });

  test('also where it is forgotten while a save runs', async () => {
    const memory = await open();
    await memory.teach(photo(0), 'a secret name', { thumbnail: thumbnail(0) });
    for (let turn = 0; turn < 8; turn += 1) {
      const secret = `secret number ${turn}`;
      await memory.teach(photo(1 + turn), secret, { thumbnail: thumbnail(1) });
      await memory.import(await memory.export()); // a snapshot is due
      const saved = memory.flush();
      for (let i = 0; i < turn; i += 1) await new Promise((resolve) => setImmediate(resolve));
      if (turn % 2) await memory.clear();
      else for (const { id, label } of await everything(memory)) if (label === secret) await memory.forget(id);
      await saved;
      await memory.flush();
      assert.ok(!(await isThere(secret)), `turn ${turn}`);
    }
  });

  test('with the partial files of writers that were killed', async () => {
    await fill(await open());
    models.pop().dispose();
    const parts = ['snapshot.bin.part', 'journal.bin.part', 'thumbnails/1-0123456789abcdef.png.part'];
    const lay = () => Promise.all(parts.map((name) => writeFile(join(folder, name), 'a secret name')));
    await lay();
    await writeFile(join(folder, 'thumbnails/notes.part'), 'of somebody else');
    const memory = await open();
    await memory.open();
    assert.ok(!(await isThere('a secret name')));
    await lay();
    await memory.clear();
    await memory.flush();
    assert.ok(!(await isThere('a secret name')));
    assert.ok(await isThere('of somebody else'));
  });

  test('is not looked for in the names of others', async () => {
    let memory = await open();
    const { id } = await memory.teach(photo(0), 'one');
    const name = `say [${id},"hello" twice`;
    const other = await memory.teach(photo(1), name);
    await memory.teach(photo(2), 'three');
    await memory.flush();
    await memory.teach(photo(3), 'four');
    await memory.flush();
    models.pop().dispose();
    const journal = await readFile(join(folder, 'journal.bin'));
    journal[5] ^= 4;
    await writeFile(join(folder, 'journal.bin'), journal);
    memory = await open();
    await memory.touch(other.id);
    await memory.flush(); // sets aside
    await memory.forget(id);
    await memory.flush();
    const aside = await open({ folder: join(folder, 'aside/damaged-1') });
    assert.ok((await labels(aside)).includes(name));
    assert.ok(!(await labels(aside)).includes('one'));
  });
});

describe('the end', () => {
  test('during a long save: who opens the folder at once waits for it', async () => {
    const memory = await open({ slots: 512, thumbnailBytes: 1e9 });
    await memory.import(await memory.export());
    for (let i = 0; i < 150; i += 1) await memory.teach(picture(20 + (i % 67), 20 + ((i * 7) % 71), 1 + (i % 30)), `name ${i}`, { thumbnail: thumbnail(i) });
    const count = (await everything(memory)).length;
    const saved = memory.flush().then(() => 'saved', ({ code }) => code);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const next = await open();
    const { durable, error } = await next.open();
    assert.deepEqual([durable, error], [true, null]);
    if ((await saved) === 'saved') assert.equal((await everything(next)).length, count);
    await next.teach(photo(0), 'next');
    await next.flush();
  });

  test('settles what waits for a store that never answers', async () => {
    const never = () => new Promise(() => {});
    const store = () => ({ durable: true, load: never, append: never, replace: never, thumbnail: never, close() {} });
    const model = await BitMar.load(TINY, { worker: false, memory: { store } });
    const { memory } = model;
    const waiting = [memory.open(), memory.flush(), memory.list(), memory.stats(), memory.export(), memory.earlier(), memory.thumbnail(1), memory.forget(1), memory.teach(photo(0), 'x')];
    const codes = Promise.all(waiting.map((call) => call.then(() => 'fine', ({ code }) => code)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    model.dispose();
    assert.deepEqual(await codes, waiting.map(() => 'disposed'));
  });

  test('or for a worker that hangs; and an abort of a call that waits is heard at once', async () => {
    const worker = join(base, 'hanging.mjs');
    await writeFile(
      worker,
      `import ${JSON.stringify(pathToFileURL(path('web/bitmar/dist/worker-node.js')))};
       const channel = new BroadcastChannel('bitmar-hang');
       channel.onmessage = () => { channel.postMessage('hangs'); for (;;); };
       channel.unref();`,
    );
    const channel = new BroadcastChannel('bitmar-hang');
    const model = await BitMar.load(TINY, { workerUrl: pathToFileURL(worker), memory: { folder, autosaveMs: 1e6 } });
    const { memory } = model;
    await memory.teach(photo(0), 'one');
    const hangs = new Promise((resolve) => (channel.onmessage = resolve));
    channel.postMessage('now');
    await hangs;
    channel.close();
    const calls = [memory.flush(), memory.list(), memory.stats(), memory.export(), memory.teach(photo(1), 'two'), model.caption(photo(0))];
    const settled = Promise.all(calls.map((call) => call.then(() => 'fine', ({ code }) => code)));
    const stop = new AbortController();
    const { signal } = stop;
    const waiting = [memory.recall({ text: 'a dog', signal }), memory.teach(photo(1), 'two', { signal }), memory.write(photo(1), { signal }), model.caption(photo(1), { signal })];
    await new Promise((resolve) => setTimeout(resolve, 50));
    const outcomes = Promise.all(waiting.map((call) => call.then(() => 'fine', ({ code }) => code)));
    stop.abort();
    // Before anything else happens in this thread: nobody is asked, and nothing is waited for.
    assert.deepEqual(await Promise.race([outcomes, new Promise((resolve) => setImmediate(resolve, 'later'))]), waiting.map(() => 'aborted'));
    model.dispose();
    assert.deepEqual(await settled, calls.map(() => 'disposed'));
  });

  test('an abort is heard while the memory opens', async () => {
    const never = () => new Promise(() => {});
    const store = () => ({ durable: true, load: never, append: never, replace: never, thumbnail: never, close() {} });
    models.push(await BitMar.load(TINY, { worker: false, memory: { store } }));
    const [{ memory }] = models;
    const stop = new AbortController();
    const { signal } = stop;
    const calls = [memory.recall({ text: 'a dog', signal }), memory.recall({ image: photo(0), signal }), memory.teach(photo(0), 'x', { signal }), memory.write(photo(0), { signal })];
    calls.push(memory.export({ signal }), models[0].caption(photo(0), { signal, writeMemory: true }));
    setTimeout(() => stop.abort(), 10);
    for (const call of calls) await assert.rejects(call, code('aborted'));
  });
});

test('a store of the caller’s that is none is named, and nothing throws what it should not', async () => {
  for (const store of [() => undefined, () => 5, () => ({}), async () => ({ durable: true, load: async () => ({}), close() {} })]) {
    const model = await BitMar.load(TINY, { worker: false, memory: { store } });
    assert.equal((await model.memory.open()).error.code, 'invalid_argument');
    await assert.rejects(model.memory.flush(), code('invalid_argument'));
    model.dispose();
  }
});
