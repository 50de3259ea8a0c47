// What several hands do to one memory: forgetting, another writer where the lock was lost, exports beside imports, stores of the caller's.
import assert from 'node:assert/strict';
import { appendFile, cp, readdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { code, otherTinyModel, picture, TINY } from './helpers.mjs';
import { base, filesIn, folder, labels, models, session } from './memory-helpers.mjs';

const open = (options = {}, model = TINY) => session({ slots: 64, ...options }, model);
/** Closes the last one, and gives its lock time to go. */
async function close() {
  models.pop().dispose();
  await new Promise((resolve) => setTimeout(resolve, 50));
}
const thing = (seed) => picture(20 + 7 * seed, 30 + ((11 * seed) % 40), seed + 1);
const thumbnail = (text) => new Blob([text], { type: 'image/png' });

/** Every file below a folder, as text. */
const texts = async (from = folder) => (await filesIn(from)).map((file) => file.toString('latin1'));

describe('what was forgotten, or had to make room', () => {
  test('is in no file after the next save: no label, caption or thumbnail', async () => {
    const memory = await open();
    await memory.teach(thing(1), 'kept', { thumbnail: thumbnail('KEPT') });
    await memory.flush();
    const { id, caption } = await memory.write(thing(2), { label: 'SECRET', thumbnail: thumbnail('SECRET') });
    await memory.flush();
    assert.ok((await texts()).some((text) => text.includes('SECRET')) && (await texts()).some((text) => text.includes(Buffer.from(JSON.stringify(caption.text)).toString('latin1'))));
    await memory.forget(id);
    await memory.flush();
    assert.deepEqual((await texts()).filter((text) => text.includes('SECRET') || text.includes(`[${id},`)), []);
    assert.ok((await texts()).some((text) => text.includes('KEPT')));
  });

  test('thumbnails beyond the budget do not come back', async () => {
    let memory = await open({ thumbnailBytes: 40 });
    for (let i = 1; i <= 6; i += 1) await memory.teach(thing(i), `name ${i}`, { thumbnail: thumbnail(`thumbnail number ${i}`) }); // 18 bytes each
    await memory.flush();
    const first = (await memory.list({ limit: 100 })).episodes.at(-1).id;
    await memory.forget(first); // a snapshot is due
    await memory.flush();
    assert.equal((await readdir(join(folder, 'thumbnails'))).length, 2);
    await close();
    memory = await open();
    await memory.open();
    assert.equal((await memory.stats()).thumbnailBytes, 36);
  });
});

describe('another writer, where this one has lost its lock', () => {
  for (const [name, lose] of [
    ['the lock’s file removed', () => unlink(join(folder, 'lock'))],
    ['the folder moved away and copied back', async () => (await cp(folder, `${folder}-copy`, { recursive: true }), await rename(folder, `${folder}-old`), await rename(`${folder}-copy`, folder))],
  ]) {
    test(`${name}: what the other has kept stays, and the first is told`, async () => {
      const first = await open();
      await first.teach(thing(1), 'one');
      await first.flush();
      await lose();
      const second = await open();
      await second.teach(thing(2), 'two');
      await second.flush();
      await close();
      await first.teach(thing(3), 'three');
      await assert.rejects(first.flush(), code('storage_blocked'));
      await assert.rejects(first.flush(), code('storage_blocked'));
      await close();
      assert.deepEqual(await labels(await open()), ['one', 'two']);
    });
  }

  test('nor is a journal overwritten that others have made longer', async () => {
    const first = await open();
    await first.teach(thing(1), 'one');
    await first.flush();
    const { id } = await first.teach(thing(2), 'two');
    await first.flush();
    await cp(folder, `${folder}-copy`, { recursive: true });
    const copy = await open({ folder: `${folder}-copy` });
    await copy.teach(thing(9), 'other');
    await copy.flush();
    await close();
    await cp(join(`${folder}-copy`, 'journal.bin'), join(folder, 'journal.bin'));
    await first.forget(id);
    await assert.rejects(first.flush(), code('storage_blocked'));
    await close();
    assert.deepEqual(await labels(await open()), ['one', 'other', 'two']);
  });

  test('but the rest of a write that was cut off, by this process or one before, is no other writer', async () => {
    let memory = await open();
    for (const i of [1, 2]) await memory.teach(thing(i), `${i}`), await memory.flush();
    await close();
    const journal = join(folder, 'journal.bin');
    await appendFile(journal, (await readFile(journal)).subarray(0, 40));
    memory = await open();
    await memory.forget((await memory.list()).episodes[0].id);
    await memory.flush();
    await close();
    assert.deepEqual(await labels(await open()), ['1']);
  });
});

test('a journal whose snapshot is gone is not another model’s', async () => {
  const other = await otherTinyModel(join(base, 'model'));
  let memory = await open();
  for (const i of [1, 2]) await memory.teach(thing(i), `mine ${i}`), await memory.flush();
  await close();
  await unlink(join(folder, 'snapshot.bin'));
  memory = await open({}, other);
  assert.deepEqual(await labels(memory), []);
  await memory.teach(thing(3), 'the other’s');
  await memory.flush();
  await close();
  assert.ok((await texts(join(folder, 'aside'))).some((text) => text.includes('mine 2')));
  assert.deepEqual(await labels(await open({}, other)), ['the other’s']);
});

test('what is set aside keeps its episodes, whatever their numbers are called meanwhile', async () => {
  let memory = await open();
  for (const i of [1, 2, 3]) await memory.teach(thing(i), `KEEP ${i}`);
  await memory.flush();
  const archive = await memory.export();
  await close();
  const file = join(folder, 'snapshot.bin');
  await writeFile(file, Buffer.from((await readFile(file)).toString('latin1').replaceAll('"format"', '"fxrmat"'), 'latin1'));
  memory = await open();
  const { id } = await memory.teach(thing(5), 'mine');
  assert.equal(memory.storage.error.code, 'invalid_state');
  await memory.forget(id);
  await memory.import(archive);
  await memory.flush();
  const aside = (await texts(join(folder, 'aside'))).join();
  for (const i of [1, 2, 3]) assert.ok(aside.includes(`KEEP ${i}`));
});

test('a folder that is moved away: what of its thumbnails is gone is counted', async () => {
  const memory = await open();
  await memory.teach(thing(1), 'one', { thumbnail: thumbnail('first') });
  await memory.flush();
  await rename(folder, `${folder}-away`);
  await memory.teach(thing(2), 'two');
  await memory.flush();
  assert.equal(memory.storage.damaged, 1);
  assert.deepEqual(await labels(memory), ['one', 'two']);
});

describe('export', () => {
  async function filled(where, mark) {
    const memory = await open({ folder: join(base, where) });
    for (let i = 1; i <= 8; i += 1) await memory.write(thing(i), { label: `${mark} ${i}`, thumbnail: thumbnail(mark.repeat(300)) });
    await memory.flush();
    return memory;
  }
  /** Label, caption and thumbnail of each episode of an archive. */
  async function contents(archive, where) {
    const memory = await open({ folder: join(base, where) });
    await memory.import(archive);
    const { episodes } = await memory.list({ limit: 100 });
    return Promise.all(episodes.map(async ({ id, label, caption }) => [label, caption, await (await memory.thumbnail(id))?.text()]));
  }

  test('beside an import or a clear has the memory before or the one after, never both', async () => {
    const mine = await filled('mine', 'm');
    const before = await contents(await mine.export(), 'before');
    const other = await (await filled('other', 'o')).export();
    assert.ok(before.every(([label, , text]) => label.startsWith('m') && text.startsWith('mmm')));
    const [first] = await Promise.all([mine.export(), mine.import(other)]);
    assert.deepEqual(await contents(first, 'first'), before);
    const theirs = await contents(await mine.export(), 'theirs');
    assert.ok(theirs.length > 5 && theirs.every(([label, , text]) => label.startsWith('o') && text.startsWith('ooo')));
    const [, second] = await Promise.all([mine.clear(), mine.export()]);
    const found = await contents(second, 'second');
    if (found.length) assert.deepEqual(found, theirs);
    assert.deepEqual(await contents(await mine.export(), 'third'), []);
  });

  test('one that is aborted while it waits holds nobody up', async () => {
    const memory = await filled('mine', 'm');
    const stop = new AbortController();
    const running = memory.export();
    const waiting = memory.export({ signal: stop.signal });
    stop.abort();
    await assert.rejects(waiting, code('aborted'));
    await running;
    assert.ok((await memory.export()).size > 0);
  });
});

describe('import', () => {
  test('reads no more of a file than its beginning, where that is of something else', async () => {
    const memory = await open();
    const read = [];
    const file = {
      size: 2 ** 40,
      slice: (from, to) => (read.push(to - from), new Blob([new Uint8Array(to - from)])),
    };
    await assert.rejects(memory.import(file), code('invalid_state'));
    assert.deepEqual(read, [12]);
  });

  test('an aborted one ends before it has read, and while it waits for the file', async () => {
    const memory = await open();
    const never = { size: 100, slice: () => ({ arrayBuffer: () => new Promise(() => {}) }) };
    await assert.rejects(memory.import(never, { signal: AbortSignal.abort() }), code('aborted'));
    const stop = new AbortController();
    const importing = memory.import(never, { signal: stop.signal });
    setTimeout(() => stop.abort());
    await assert.rejects(importing, code('aborted'));
  });

  test('a file that can no longer be read is named', async () => {
    const memory = await open();
    const gone = { size: 100, slice: () => ({ arrayBuffer: async () => { throw new DOMException('changed since', 'NotReadableError'); } }) };
    await assert.rejects(memory.import(gone), (error) => error.code === 'invalid_state' && /changed since/.test(error.message));
    const hostile = { get size() { throw new Error('no'); }, slice() {} };
    await assert.rejects(memory.import(hostile), code('invalid_argument'));
  });
});

describe('a store of the caller’s', () => {
  const sound = {
    durable: true,
    load: async () => ({ snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails: new Map() }),
    append: async () => true,
    replace: async () => {},
    thumbnail: async () => undefined,
    close() {},
  };
  const withStore = (change) => open({ folder: undefined, store: () => ({ ...sound, ...change }) });

  let warnings;
  const warn = ({ message }) => warnings.push(message);
  beforeEach(() => ((warnings = []), process.on('warning', warn)));
  afterEach(() => process.off('warning', warn));

  for (const method of ['close', 'ending']) {
    for (const [how, fails] of [['throws', () => { throw new Error(`${method} throws`); }], ['rejects', async () => { throw new Error(`${method} rejects`); }]]) {
      test(`whose ${method}() ${how}: dispose() does not, and it is reported`, async () => {
        let go;
        const replaced = new Promise((resolve) => (go = resolve));
        const memory = await withStore({ [method]: fails, replace: () => replaced });
        await memory.teach(thing(1), 'one');
        const flushed = memory.flush().catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 20)); // until it saves
        models.pop().dispose();
        go();
        await flushed;
        await new Promise((resolve) => setTimeout(resolve, 20));
        assert.ok(warnings.some((message) => message.includes(`${method} ${how}`)), warnings.join());
      });
    }
  }

  test('whose earlier() fails or gives something else keeps what is its own; memory.earlier() says what is wrong', async () => {
    for (const earlier of [async () => { throw new Error('no earlier'); }, async () => 'none', async () => [{ model: 1 }]]) {
      const memory = await withStore({ earlier });
      assert.equal((await memory.open()).durable, true);
      await assert.rejects(memory.earlier(), code('storage_unavailable'));
    }
  });

  test('whose load() gives something else is not used, and named', async () => {
    for (const [name, change] of [
      ['snapshot', { snapshot: 'bytes' }],
      ['frames', { frames: null }],
      ['captions', { captions: new Map([[1, 5]]) }],
      ['captions', { captions: { 1: 'x' } }],
      ['thumbnails', { thumbnails: new Map([[1, -1]]) }],
      ['damaged', { damaged: 'much' }],
      ['sequence', { sequence: NaN }],
    ]) {
      const memory = await withStore({ load: async () => ({ ...(await sound.load()), ...change }) });
      const { durable, error } = await memory.open();
      assert.deepEqual([durable, error.code], [false, 'storage_unavailable'], name);
      assert.match(error.message, new RegExp(name));
    }
    const { error } = await (await withStore({ load: async () => undefined })).open();
    assert.match(error.message, /load\(\) of the store gave no object/);
  });
});
