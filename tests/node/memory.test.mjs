// model.memory in node: with the engine, in a folder.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { BitMar, MemoryChangeEvent } from 'bitmar';
import { code, MODEL, path, picture, png, sample, SAMPLES, TINY } from './helpers.mjs';

const NOW = 1_800_000_000_000;

describe('what the memory holds', () => {
  let model, memory;
  before(async () => {
    model = await BitMar.load(MODEL);
    ({ memory } = model);
    for (const [i, name] of SAMPLES.entries()) await memory.write(await sample(name), { now: NOW + i * 1000 });
  });
  after(() => model.dispose());

  test('write: an episode with its caption and times', async () => {
    const { episodes } = await memory.list();
    assert.equal(episodes.length, SAMPLES.length);
    assert.deepEqual(episodes.map(({ createdMs }) => (createdMs - NOW) / 1000), [5, 4, 3, 2, 1, 0]);
    for (const [i, episode] of episodes.entries()) {
      const { text } = await model.caption(await sample(SAMPLES.at(-1 - i)), { readMemory: false });
      assert.deepEqual(
        { caption: episode.caption, label: episode.label, uses: episode.uses, strength: episode.strength, lastUsedMs: episode.lastUsedMs },
        { caption: text, label: null, uses: 0, strength: 1, lastUsedMs: episode.createdMs },
      );
    }
  });

  test('recall by image: the same photo first; by text, and by both; k and minScore', async () => {
    const { episodes } = await memory.list();
    for (const [i, name] of SAMPLES.entries()) {
      const { matches } = await memory.recall({ image: await sample(name), k: 3 });
      assert.equal(matches.length, 3);
      assert.equal(matches[0].id, episodes.at(-1 - i).id);
      assert.ok(matches[0].similarity > 0.999 && matches[1].similarity <= matches[0].similarity);
      assert.deepEqual({ ...matches[0], similarity: 0 }, { ...episodes.at(-1 - i), similarity: 0 });
    }
    const { matches } = await memory.recall({ text: 'a man with a camera' });
    assert.equal(matches.length, SAMPLES.length);
    assert.ok(matches.every(({ similarity }, i) => i === 0 || similarity <= matches[i - 1].similarity));
    const both = await memory.recall({ text: 'a man with a camera', image: await sample('photographer') });
    assert.notDeepEqual(both.matches.map(({ similarity }) => similarity), matches.map(({ similarity }) => similarity));
    const strict = await memory.recall({ image: await sample('cat'), minScore: 0.999 });
    assert.deepEqual(strict.matches.map(({ id }) => id), [episodes.at(-1 - SAMPLES.indexOf('cat')).id]);
    assert.equal(strict.recognised, null);
  });

  test('the same again is blended, and keeps its caption', async () => {
    const before = (await memory.stats()).occupied;
    const { outcome, similarity, id, caption, replacedId } = await memory.write(await sample('cat'), { now: NOW + 10_000 });
    assert.equal(outcome, 'blended');
    assert.ok(similarity > 0.99 && caption.text && replacedId === null);
    assert.equal((await memory.stats()).occupied, before);
    const episode = (await memory.list()).episodes.find((one) => one.id === id);
    assert.equal(episode.strength, 2);
    assert.ok(episode.caption);
  });

  test('teach, recognise, rename; touch', async () => {
    const { id } = await memory.teach(await sample('cat'), 'Minka', { now: NOW });
    await memory.teach(await sample('coffee'), 'my mug ☕');
    const { recognised, matches } = await memory.recall({ image: await sample('cat') });
    assert.equal(recognised.label, 'Minka');
    assert.ok(recognised.score >= 0.5 && recognised.score <= 1);
    assert.equal(matches[0].label, 'Minka');
    await memory.label(matches[0].id, 'Mohrle');
    assert.equal((await memory.recall({ image: await sample('cat') })).recognised.label, 'Mohrle');
    await memory.touch(id, { now: NOW + 50_000 });
    const touched = (await memory.list()).episodes.find((one) => one.id === id);
    assert.deepEqual([touched.uses, touched.lastUsedMs], [1, NOW + 50_000]);
    await memory.label(matches[0].id, null);
    assert.equal((await memory.list()).episodes.find((one) => one.id === matches[0].id).label, null);
  });

  test('list: page by page, also while episodes come and go', async () => {
    const { episodes } = await memory.list();
    const first = await memory.list({ limit: 2 });
    assert.deepEqual(first.episodes, episodes.slice(0, 2));
    const { id } = await memory.write(picture(40, 30, 3));
    const second = await memory.list({ limit: 2, cursor: first.cursor });
    assert.deepEqual(second.episodes, episodes.slice(2, 4));
    assert.equal(await memory.forget(id), true);
    assert.equal(await memory.forget(id), false);
    const rest = await memory.list({ limit: episodes.length - 4, cursor: second.cursor });
    assert.deepEqual([...first.episodes, ...second.episodes, ...rest.episodes], episodes);
    assert.equal(rest.cursor, null);
  });

  test('captions with and without the memory', async () => {
    const source = await sample('stairs');
    const without = await model.caption(source, { readMemory: false });
    assert.equal(without.text, (await memory.list()).episodes.find(({ createdMs }) => createdMs === NOW + 1000 * SAMPLES.indexOf('stairs')).caption);
    const { text } = await model.caption(source);
    assert.equal(text, (await model.caption(source, { readMemory: true })).text);
    assert.equal(without.episode, undefined);
    const written = await model.caption(source, { writeMemory: true, readMemory: false });
    assert.equal(written.episode.outcome, 'blended');
  });

  test('thumbnails', async () => {
    const { id } = await memory.teach(picture(30, 40, 5), 'pattern', { thumbnail: new Blob([png(picture(3, 4))], { type: 'image/png' }) });
    const thumbnail = await memory.thumbnail(id);
    assert.equal(thumbnail.type, 'image/png');
    assert.deepEqual(Buffer.from(await thumbnail.arrayBuffer()), png(picture(3, 4)));
    assert.equal((await memory.stats()).thumbnailBytes, thumbnail.size);
    await memory.forget(id);
    assert.equal(await memory.thumbnail(id), undefined);
    assert.equal((await memory.stats()).thumbnailBytes, 0);
  });

  test('events', async () => {
    const seen = [];
    const listener = (event) => {
      assert.ok(event instanceof MemoryChangeEvent);
      seen.push([event.change, event.id]);
    };
    memory.addEventListener('change', listener);
    const { id } = await memory.write(picture(50, 50, 7));
    await memory.label(id, 'seven');
    await memory.forget(id);
    memory.removeEventListener('change', listener);
    await memory.write(picture(50, 50, 9));
    assert.deepEqual(seen, [['write', id], ['label', id], ['forget', id]]);
  });

  test('an aborted write leaves nothing behind', async () => {
    const before = await memory.stats();
    const source = await sample('raccoon');
    await assert.rejects(memory.write(source, { signal: AbortSignal.abort() }), code('aborted'));
    const waiting = new AbortController();
    const caption = model.caption(source);
    const write = memory.write(source, { signal: waiting.signal });
    waiting.abort();
    await assert.rejects(write, code('aborted'));
    await caption;
    await assert.rejects(memory.teach(source, 'x', { signal: AbortSignal.abort() }), code('aborted'));
    await assert.rejects(memory.recall({ text: 'x', signal: AbortSignal.abort() }), code('aborted'));
    await assert.rejects(memory.export({ signal: AbortSignal.abort() }), code('aborted'));
    assert.equal((await memory.stats()).sequence, before.sequence);
  });

  test('a write that is aborted under way says truly whether it was done', async () => {
    const source = await sample('raccoon');
    for (let i = 0; i < 5; i += 1) {
      const controller = new AbortController();
      const before = (await memory.stats()).sequence;
      const verdict = memory.write(source, { signal: controller.signal, onToken: () => controller.abort() }).then(() => true, code('aborted'));
      const done = (await verdict) && !(await memory.stats().then(({ sequence }) => sequence === before));
      assert.equal((await memory.stats()).sequence > before, done);
    }
  });

  test('bad arguments', async () => {
    const cases = [
      () => memory.recall({}),
      () => memory.recall({ text: 'x', k: 0 }),
      () => memory.recall({ text: 'x', minScore: Number.NaN }),
      () => memory.recall({ image: 'cat.jpg' }),
      () => memory.teach(picture(3, 3), ''),
      () => memory.teach(picture(3, 3), 'x', { thumbnail: 'cat.jpg' }),
      () => memory.label(987_654, 'nobody'),
      () => memory.touch(987_654),
      () => memory.forget('1'),
      () => memory.list({ limit: 0 }),
      () => memory.list({ cursor: 'x' }),
      () => memory.write(picture(3, 3), { now: Number.NaN }),
    ];
    for (const call of cases) await assert.rejects(call(), code('invalid_argument'), `${call}`);
    await assert.rejects(memory.teach(picture(3, 3), 'x'.repeat(64)), code('text_too_long'));
    await assert.rejects(memory.teach(new Blob(['hello']), 'x'), code('invalid_image', 'unsupported_image'));
  });

  test('clear', async () => {
    await memory.clear();
    assert.deepEqual(await memory.list(), { episodes: [], cursor: null });
    assert.deepEqual((await memory.recall({ text: 'a cat' })).matches, []);
    assert.equal((await memory.stats()).occupied, 0);
  });
});

describe('a memory in a folder', () => {
  let folder, models;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bitmar-memory-'));
    models = [];
  });
  afterEach(async () => {
    for (const model of models) model.dispose();
    await rm(folder, { recursive: true });
  });
  async function open(memory = { folder }, directory = TINY) {
    models.pop()?.dispose();
    models.push(await BitMar.load(directory, { memory }));
    return models[0].memory;
  }
  const everything = async (memory) => (await memory.list({ limit: 1000 })).episodes;

  test('is there in the next session', async () => {
    let memory = await open();
    assert.deepEqual(await memory.open(), { durable: true, exclusive: true, role: 'writer', damaged: 0, error: null });
    await memory.write(picture(30, 30), { now: NOW });
    await memory.teach(picture(60, 20, 4), 'pattern', { now: NOW + 1, thumbnail: new Blob(['tiny'], { type: 'image/webp' }) });
    await memory.flush();
    const { sequence, savedSequence, savedBytes } = await memory.stats();
    assert.equal(savedSequence, sequence);
    assert.ok(savedBytes > 0);
    const before = await everything(memory);
    memory = await open();
    assert.deepEqual(await everything(memory), before);
    assert.equal(await (await memory.thumbnail(before[0].id))?.text(), 'tiny');
    const { recognised } = await memory.recall({ image: picture(60, 20, 4) });
    assert.equal(recognised?.label, 'pattern');
    await memory.forget(before[0].id);
    await memory.write(picture(20, 90, 8), { now: NOW + 2 });
    await memory.flush();
    const later = await everything(memory);
    assert.ok(later.every(({ id }) => id !== before[0].id));
    assert.deepEqual(await everything(await open()), later);
  });

  test('saves by itself, and a process that ends has saved', async () => {
    const script = `
      import { BitMar } from ${JSON.stringify(path('web/bitmar/dist/index-node.js'))};
      import { picture } from ${JSON.stringify(path('tests/node/helpers.mjs'))};
      const model = await BitMar.load(${JSON.stringify(TINY)}, { memory: { folder: ${JSON.stringify(folder)}, autosaveMs: 50 } });
      await model.memory.write(picture(30, 30));`;
    await writeFile(join(folder, 'script.mjs'), script);
    const child = spawn(process.execPath, [join(folder, 'script.mjs')], { stdio: 'inherit' });
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
    assert.equal((await everything(await open())).length, 1);
  });

  test('replaced episodes take their captions and thumbnails along; slots are as many as asked for', async () => {
    const memory = await open({ folder, slots: 64 }, MODEL);
    const photos = Array.from({ length: 80 }, (_, i) => picture(32 + ((7 * i) % 50), 32 + ((11 * i) % 60), i + 1));
    let replaced = 0;
    for (const [i, photo] of photos.entries()) {
      const { replacedId } = await memory.teach(photo, `label ${i}`, { now: NOW + i, thumbnail: new Blob([`${i}`]) });
      if (replacedId === null) continue;
      replaced += 1;
      assert.equal(await memory.thumbnail(replacedId), undefined);
    }
    const stats = await memory.stats();
    assert.equal(stats.slots, 64);
    assert.ok(stats.occupied <= 64);
    await memory.flush();
    const again = await open({ folder, slots: 64 }, MODEL);
    for (const { id } of await everything(again)) assert.ok(await again.thumbnail(id));
    assert.equal(stats.thumbnailBytes, (await again.stats()).thumbnailBytes);
    assert.equal(replaced, photos.length - 64);
  });

  test('cut anywhere, the journal loads and what was acknowledged before stays', async () => {
    const memory = await open();
    const acknowledged = [];
    for (let i = 0; i < 6; i += 1) {
      await memory.teach(picture(40 + i, 40, i + 1), `label ${i}`, { now: NOW + i });
      await memory.flush();
      acknowledged.push(await everything(memory));
    }
    models.pop().dispose();
    const journal = join(folder, 'journal.bin');
    const whole = await readFile(journal);
    for (let length = whole.length; length > 0; length -= 331) {
      await writeFile(journal, whole.subarray(0, length));
      const found = await everything(await open());
      assert.ok(acknowledged.some((state) => JSON.stringify(state) === JSON.stringify(found)), `${length} of ${whole.length}`);
      models.pop().dispose();
    }
  });

  test('damaged bytes cost episodes, not the memory', async () => {
    let memory = await open();
    for (let i = 0; i < 6; i += 1) await memory.teach(picture(40 + i, 40, i + 1), `label ${i}`, { now: NOW + i });
    await memory.flush();
    const before = await everything(memory);
    models.pop().dispose();
    const snapshot = join(folder, 'snapshot.bin');
    const bytes = await readFile(snapshot);
    bytes[bytes.lastIndexOf(before[0].label)] ^= 1;
    await writeFile(snapshot, bytes);
    memory = await open();
    const after = await everything(memory);
    assert.equal(after.length, before.length - 1);
    assert.equal((await memory.stats()).damaged, 1);
    assert.ok(after.every((episode) => before.some(({ id }) => id === episode.id)));
    assert.equal(memory.storage.durable, true);
    await memory.write(picture(10, 10));
    await memory.flush();
    const healed = await everything(memory);
    assert.deepEqual(await everything(await open()), healed);
  });

  test('something else in its place: goes on in memory and says so; clear() begins anew', async () => {
    let memory = await open();
    await memory.write(picture(10, 10));
    await memory.flush();
    models.pop().dispose();
    await writeFile(join(folder, 'snapshot.bin'), 'hello');
    memory = await open();
    const codes = [];
    memory.addEventListener('storage', ({ status }) => codes.push(status.error?.code ?? 'fine'));
    await memory.write(picture(10, 10));
    await assert.rejects(memory.flush(), code('invalid_state'));
    assert.equal((await everything(memory)).length, 1);
    assert.equal(await readFile(join(folder, 'snapshot.bin'), 'utf8'), 'hello');
    await memory.clear();
    await memory.write(picture(20, 20));
    await memory.flush();
    assert.deepEqual(codes, ['invalid_state', 'fine']);
    assert.equal((await everything(await open())).length, 1);
  });

  test('export and import: to another folder, to fewer slots, not to another model', async () => {
    const memory = await open();
    for (let i = 0; i < 5; i += 1) {
      await memory.teach(picture(40 + i, 40, i + 1), `label ${i}`, { now: NOW + i, thumbnail: new Blob([`thumbnail ${i}`]) });
    }
    await memory.write(picture(99, 99, 9), { now: NOW + 9 });
    const before = await everything(memory);
    const file = await memory.export();
    await memory.clear();
    await memory.write(picture(10, 99));
    const report = await memory.import(file);
    assert.deepEqual(report, { loaded: before.length, droppedSlots: 0, droppedFrames: 0, leftOut: 0 });
    assert.deepEqual(await everything(memory), before);
    await memory.flush();
    let again = await open();
    assert.deepEqual(await everything(again), before);
    const labelled = before.filter(({ label }) => label);
    assert.ok(labelled.length > 0);
    for (const { id, label } of labelled) assert.equal(await (await again.thumbnail(id)).text(), label.replace('label', 'thumbnail'));
    await assert.rejects(again.import(new Blob(['hello'])), code('invalid_state'));
    await assert.rejects(again.import(file.slice(0, file.size >> 1)), code('invalid_state'));
    assert.deepEqual(await everything(again), before);
    const { id } = await again.teach(picture(99, 10, 5), 'new');
    assert.ok(before.every((episode) => episode.id !== id), 'an id was used again');
    again = await open({ persist: false }, MODEL);
    await assert.rejects(again.import(file), code('invalid_state'));
  });

  test('a store of one’s own, by the model’s hash', async () => {
    const hashes = [];
    const frames = [];
    const store = (hash) => {
      hashes.push(hash);
      return {
        durable: true,
        load: async () => ({ snapshot: null, frames: [], captions: new Map(), thumbnails: new Map() }),
        append: async (frame) => frames.push(frame) > 0,
        replace: async (snapshot) => void frames.push(snapshot),
        thumbnail: async () => undefined,
        close() {},
      };
    };
    for (const directory of [TINY, MODEL, TINY]) {
      const memory = await open({ store }, directory);
      await memory.write(picture(10, 10));
      await memory.flush();
    }
    assert.equal(frames.length, 3);
    assert.equal(hashes[0], hashes[2]);
    assert.notEqual(hashes[0], hashes[1]);
    assert.match(hashes[0], /^[0-9a-f]{64}$/);
  });

  test('nothing is opened before it is needed', async () => {
    let opened = 0;
    const store = () => {
      opened += 1;
      throw new Error('no');
    };
    const memory = await open({ store });
    await models[0].caption(picture(10, 10));
    assert.equal(opened, 0);
    await memory.list();
    assert.equal(opened, 1);
    assert.equal(memory.storage.error.code, 'storage_unavailable');
  });
});

test('policy: a full memory replaces its weakest episode, or by the paper’s additive rule moves all of them', async () => {
  const written = async (policy) => {
    const model = await BitMar.load(TINY, { memory: { slots: 2, ...policy } });
    const outcomes = [];
    for (const seed of [1, 4, 9]) outcomes.push((await model.memory.write(picture(20 * seed, 30, seed), { now: NOW + seed })).outcome);
    model.dispose();
    return outcomes;
  };
  assert.deepEqual(await written({ policy: 'additive' }), ['added', 'added', 'blended']);
  const gated = await written({ policy: 'gated' });
  assert.deepEqual(await written({}), gated);
  await assert.rejects(BitMar.load(TINY, { memory: { policy: 'paper' } }), code('invalid_argument'));
});
