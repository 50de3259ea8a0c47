// A call that is aborted ends, even where its worker does not: another one takes its place, and nobody else notices.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { BitMar } from 'bitmar';
import { code, path, picture, TINY } from './helpers.mjs';

const NOW = 1_800_000_000_000;
const image = picture(40, 30);
const other = picture(90, 20, 7);
const ENDLESS = { prompt: 'a', maxTokens: 1e6 };

let base, folder, workerUrl, channel, starts, hung, models;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'bitmar-abort-'));
  folder = join(base, 'memory');
  models = [];
  starts = 0;
  // The package's own worker, and a way to keep it busy for ever: in whatever it does when it next looks at its messages.
  workerUrl = pathToFileURL(join(base, 'busy.mjs'));
  await writeFile(
    workerUrl,
    `const channel = new BroadcastChannel(${JSON.stringify(base)});
     channel.onmessage = ({ data }) => {
       if (data !== 'busy') return;
       channel.postMessage('hangs');
       for (;;);
     };
     channel.unref();
     await import(${JSON.stringify(pathToFileURL(path('web/bitmar/dist/worker-node.js')))});
     channel.postMessage('start');`,
  );
  channel = new BroadcastChannel(base);
  channel.onmessage = ({ data }) => (data === 'start' ? (starts += 1) : hung?.());
});
afterEach(async () => {
  for (const model of models) model.dispose();
  channel.close();
  await rm(base, { recursive: true, maxRetries: 3 });
});

async function load(memory) {
  const model = await BitMar.load(TINY, { workerUrl, memory });
  models.push(model);
  return model;
}
/** The worker hangs when it next looks at its messages: resolves when it does. */
const hang = () =>
  new Promise((resolve) => {
    hung = resolve;
    channel.postMessage('busy');
  });
const everything = async ({ memory }) => (await memory.list({ limit: 1000 })).episodes;

/** A caption that hangs between two tokens, and is aborted then. */
async function hungCaption(model, options = {}) {
  const stop = new AbortController();
  let began;
  const begun = new Promise((resolve) => (began = resolve));
  const caption = model.caption(image, { ...options, ...ENDLESS, signal: stop.signal, onToken: () => void hang().then(began) });
  await begun;
  return { caption, stop };
}

describe('a worker that hangs', () => {
  test('in a caption: the caller hears, what waits is done by another worker', async () => {
    const model = await load();
    const expected = [await model.caption(image, { maxTokens: 5 }), await model.caption(other, { prompt: 'a dog', numBeams: 2, maxTokens: 5 })];
    for (let turn = 1; turn <= 2; turn += 1) {
      const { caption, stop } = await hungCaption(model);
      const gone = new AbortController();
      const waiting = [model.caption(image, { maxTokens: 5 }), model.caption(image, { signal: gone.signal }), model.caption(other, { prompt: 'a dog', numBeams: 2, maxTokens: 5 })];
      gone.abort();
      stop.abort();
      await Promise.all([assert.rejects(caption, code('aborted')), assert.rejects(waiting[1], code('aborted'))]);
      const [first, , third] = await Promise.allSettled(waiting);
      assert.deepEqual([first.value?.tokens, third.value?.tokens], expected.map(({ tokens }) => tokens));
      assert.equal(starts, 1 + turn);
    }
  });

  test('what was remembered stays, saved or not', async () => {
    let model = await load({ folder, autosaveMs: 1e6, slots: 20 });
    const { memory } = model;
    await memory.teach(image, 'saved', { now: NOW });
    await memory.teach(picture(20, 80, 3), 'saved too', { now: NOW + 1 });
    await memory.flush();
    const { id } = await memory.teach(other, 'not saved yet', { now: NOW + 2 });
    await memory.touch(id, { now: NOW + 3 });
    const { id: forgotten } = await memory.teach(picture(70, 70, 5), 'forgotten', { now: NOW + 4 });
    await memory.forget(forgotten);
    const before = await everything(model);
    const recalled = await memory.recall({ image: other });
    assert.equal(before.length, 3);

    const { caption, stop } = await hungCaption(model, { writeMemory: true });
    const listed = everything(model);
    const flushed = memory.flush();
    stop.abort();
    await assert.rejects(caption, code('aborted'));
    assert.deepEqual(await listed, before);
    await flushed;
    assert.deepEqual(await memory.recall({ image: other }), recalled);
    assert.equal((await memory.stats()).slots, 20);
    const { id: next } = await memory.teach(picture(30, 99, 9), 'after', { now: NOW + 5 });
    assert.ok(next > forgotten, 'ids are never used again');
    await memory.flush();
    const kept = await everything(model);
    assert.equal(kept.length, 4);
    assert.equal(starts, 2);

    models.pop().dispose();
    model = await load({ folder });
    assert.deepEqual(await everything(model), kept);
    assert.equal((await model.memory.stats()).damaged, 0);
  });

  test('the memory’s policy stays', async () => {
    const model = await load({ slots: 2, policy: 'additive' });
    for (const seed of [1, 4]) await model.memory.teach(picture(20 * seed, 30, seed), `name ${seed}`);
    const { caption, stop } = await hungCaption(model);
    stop.abort();
    await assert.rejects(caption, code('aborted'));
    const { outcome } = await model.memory.write(picture(10, 70, 9));
    assert.deepEqual([outcome, starts], ['blended', 2]);
  });

  test('in a change of the memory: it was not made; and again, after many changes', async () => {
    const model = await load({ slots: 200 }); // kept nowhere else
    const { memory } = model;
    for (let turn = 0; turn < 2; turn += 1) {
      // More changes than fit between two whole copies.
      for (let i = 0; i < 300; i += 1) await (i % 5 === 4 ? memory.touch(1, { now: NOW + i }) : memory.teach(picture(9 + i, 20 + turn, i), `name ${turn} ${i % 90}`, { now: NOW + i }));
      const before = await everything(model);
      await hang();
      const stop = new AbortController();
      const teaching = memory.teach(image, 'too late', { signal: stop.signal });
      await new Promise((resolve) => setTimeout(resolve, 50)); // until it is with the worker
      stop.abort();
      await assert.rejects(teaching, code('aborted'));
      assert.deepEqual(await everything(model), before);
    }
    await memory.clear();
    const { caption, stop } = await hungCaption(model);
    stop.abort();
    await assert.rejects(caption, code('aborted'));
    assert.deepEqual(await everything(model), []);
    assert.equal(starts, 4);
  });

  test('disposed of, or its successor does not start', async () => {
    const model = await load();
    let { caption, stop } = await hungCaption(model);
    stop.abort();
    const waiting = model.caption(image);
    model.dispose();
    await assert.rejects(caption, code('aborted'));
    await assert.rejects(waiting, code('disposed'));

    const second = await load();
    ({ caption, stop } = await hungCaption(second));
    await rm(workerUrl);
    const lost = second.caption(image);
    stop.abort();
    await assert.rejects(caption, code('aborted'));
    await assert.rejects(lost, code('worker_failed'));
    await assert.rejects(second.caption(image), code('worker_failed'));
  });
});

test('a worker that lets go of an aborted call stays', async () => {
  const model = await load();
  for (let i = 0; i < 5; i += 1) {
    const stop = new AbortController();
    await assert.rejects(model.caption(image, { ...ENDLESS, signal: stop.signal, onToken: () => stop.abort() }), code('aborted'));
  }
  // A page that is busy for longer than the worker may take.
  const stop = new AbortController();
  const busy = () => {
    stop.abort();
    for (const until = performance.now() + 1500; performance.now() < until; );
  };
  let begun = false;
  const onToken = () => {
    if (!begun) setTimeout(busy);
    begun = true;
  };
  const caption = model.caption(image, { ...ENDLESS, signal: stop.signal, onToken });
  await assert.rejects(caption, code('aborted'));
  assert.ok((await model.caption(image)).tokens.length);
  assert.equal(starts, 1);
});
