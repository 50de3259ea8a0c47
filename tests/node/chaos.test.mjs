// Everything goes wrong at once: calls are aborted, disposed of and left, functions throw, storage fails, clocks jump, workers die.
// BITMAR_CHAOS_CALLS says how many calls, BITMAR_SEED makes a run again.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { BitMar } from 'bitmar';
import { CALLS, jumpingClock, randomFrom, SEED, storm } from '../chaos.mjs';
import { code, path, picture, TINY } from './helpers.mjs';

const pictures = [picture(40, 30), picture(64, 64, 3), picture(20, 90, 5)];
const noPicture = [new Blob(['no picture']), new Blob([])];

/** Keeps nothing that lasts, and fails at random: with errors of its own kinds, at once or later. */
function failingStore(random) {
  const state = { snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails: new Map() };
  const files = new Map();
  const attach = ({ cleared, removed, evicted, captions, thumbnails }) => {
    if (cleared) for (const part of [state.captions, files]) part.clear();
    for (const id of [...removed, ...evicted]) files.delete(id);
    for (const id of removed) state.captions.delete(id);
    for (const [id, text] of captions) state.captions.set(id, text);
    for (const [id, file] of thumbnails) files.set(id, file);
  };
  const perhaps = () => {
    const chance = random();
    if (chance < 0.1) throw new TypeError('the disk is gone');
    if (chance < 0.2) return new Promise((_, reject) => setTimeout(reject, 3, new RangeError('the disk is full')));
    return Promise.resolve();
  };
  return {
    durable: true,
    load: async () => structuredClone({ ...state, thumbnails: new Map([...files].map(([id, { bytes }]) => [id, bytes.length])) }),
    async append(frame, sequence, attachments) {
      await perhaps();
      if (random() < 0.1) return false;
      attach(attachments);
      state.frames.push(frame);
      state.sequence = sequence;
      return true;
    },
    async replace(snapshot, sequence, attachments) {
      await perhaps();
      attach(attachments);
      Object.assign(state, { snapshot, sequence, frames: [] });
    },
    async thumbnail(id) {
      await perhaps();
      return files.get(id);
    },
    close() {},
  };
}

function unhandled(t) {
  const list = [];
  const add = (error) => list.push(error);
  for (const event of ['unhandledRejection', 'uncaughtException']) process.on(event, add);
  t.after(() => {
    for (const event of ['unhandledRejection', 'uncaughtException']) process.off(event, add);
  });
  return list;
}

for (const worker of [true, false]) {
  test(`a storm of ${CALLS} calls, ${worker ? 'with a worker' : 'in this thread'}: each ends as it should, and the memory stays flat`, async (t) => {
    t.diagnostic(`BITMAR_SEED=${SEED}`);
    const lost = unhandled(t);
    const random = randomFrom(SEED);
    const model = await BitMar.load(TINY, { worker, memory: { store: () => failingStore(random), autosaveMs: 20 } });
    const restore = jumpingClock(random);
    const blow = (calls) => storm({ model, calls, random, pictures, noPicture });
    const early = await blow(CALLS / 2);
    const before = process.memoryUsage().rss;
    const late = await blow(CALLS / 2);
    const grown = process.memoryUsage().rss - before;
    restore();
    model.dispose();
    assert.deepEqual([...early.wrong, ...late.wrong], []);
    assert.deepEqual(lost, []);
    assert.ok(Object.keys(late.counts).length > 15, JSON.stringify(late.counts));
    assert.ok(grown < 40e6, `${(grown / 1e6).toFixed(1)} MB more`);
    t.diagnostic(`${(grown / 1e6).toFixed(1)} MB more in the second half; ${JSON.stringify(late.counts)}`);
  });
}

test('models that are disposed of in the middle of everything leave nothing behind', async (t) => {
  const lost = unhandled(t);
  const random = randomFrom(SEED + 1);
  const rounds = Math.ceil(CALLS / 20);
  let before = 0;
  for (let round = 0; round < rounds; round += 1) {
    if (round === Math.ceil(rounds / 2)) before = process.memoryUsage().rss;
    const model = await BitMar.load(TINY, { worker: random() < 0.5, memory: { store: () => failingStore(random), autosaveMs: 1 } });
    const image = pictures[0];
    const pending = [
      model.caption(image, { maxTokens: 100 }),
      model.memory.open(),
      model.memory.write(image),
      model.memory.recall({ text: 'a dog' }),
      model.memory.teach(image, 'cup'),
      model.caption(image),
    ];
    const settled = Promise.allSettled(pending);
    await new Promise((resolve) => setTimeout(resolve, 15 * random()));
    model.dispose();
    const outcomes = await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, 60_000))]);
    assert.ok(outcomes, `round ${round}, BITMAR_SEED=${SEED}: a call never settled`);
    for (const { reason } of outcomes) if (reason) assert.ok(code('disposed')(reason));
    await assert.rejects(model.caption(image), code('disposed'));
  }
  const grown = process.memoryUsage().rss - before;
  assert.deepEqual(lost, []);
  assert.ok(grown < 80e6, `${(grown / 1e6).toFixed(1)} MB more in the second half of ${rounds} models`);
  t.diagnostic(`${rounds} models, ${(grown / 1e6).toFixed(1)} MB more in the second half`);
});

test('a worker that is killed: every call that waits says so, and another model works', async (t) => {
  const lost = unhandled(t);
  const folder = await mkdtemp(join(tmpdir(), 'bitmar-chaos-'));
  t.after(() => rm(folder, { recursive: true }));
  const workerUrl = pathToFileURL(join(folder, 'mortal.mjs'));
  await writeFile(
    workerUrl,
    `import ${JSON.stringify(pathToFileURL(path('web/bitmar/dist/worker-node.js')))};
     const channel = new BroadcastChannel('bitmar-kill');
     channel.onmessage = () => process.exit(9);
     channel.unref();`,
  );
  const channel = new BroadcastChannel('bitmar-kill');
  t.after(() => channel.close());
  const mortal = await BitMar.load(TINY, { workerUrl });
  const image = pictures[0];
  const pending = Array.from({ length: 300 }, (_, i) => [() => mortal.caption(image), () => mortal.memory.teach(image, 'cup'), () => mortal.memory.flush()][i % 3]());
  void pending[0].then(() => channel.postMessage('now'));
  const outcomes = await Promise.allSettled(pending);
  const rejected = outcomes.filter(({ status }) => status === 'rejected');
  assert.ok(rejected.length > 0 && rejected.length < outcomes.length, `${rejected.length} of ${outcomes.length}`);
  for (const { reason } of rejected) assert.ok(code('worker_failed')(reason));
  await assert.rejects(mortal.caption(image), code('worker_failed'));
  mortal.dispose();
  await assert.rejects(mortal.caption(image), code('worker_failed', 'disposed'));
  const next = await BitMar.load(TINY);
  assert.ok((await next.caption(image)).tokens.length);
  next.dispose();
  assert.deepEqual(lost, []);
});
