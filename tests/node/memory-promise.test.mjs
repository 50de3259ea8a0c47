// What the memory promises, with the engine and a folder: a flush saves or rejects, fewer slots forget nobody, an import is taken whole or
// not at all, and a new model sees again what the one before it remembered.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';

import { BitMar } from 'bitmar';
import { randomFrom } from '../chaos.mjs';
import { code, MODEL, otherTinyModel, path, picture, png, TINY } from './helpers.mjs';
import { base, everything, folder, models, nextSession as open } from './memory-helpers.mjs';

const { writeArchive, readArchive } = await import(path('web/bitmar/dist/memory/archive.js'));
const { FileStore } = await import(path('web/bitmar/dist/store/file.js'));
const NOW = 1_800_000_000_000;
const MAX_ID = 2 ** 52;
const MAX_TIME = 8.64e15;

// ---- Bytes as the engine writes them, with any contents ----

function snapshotOf({ width = 16, slots = 8, base = 0, sequence = 1, nextId = 2, flags = 1, episodes = [] }) {
  const header = Buffer.alloc(60);
  header.write('BMEM');
  header.writeUInt32LE(1, 4);
  header.writeUInt32LE(width, 8);
  header.writeUInt32LE(crc32(header.subarray(0, 12)), 12);
  header.writeBigUInt64LE(BigInt(base), 16);
  header.writeBigUInt64LE(BigInt(sequence), 24);
  header.writeBigUInt64LE(BigInt(nextId), 32);
  [slots, flags, 0, episodes.length].forEach((value, i) => header.writeUInt32LE(value, 40 + 4 * i));
  header.writeUInt32LE(crc32(header.subarray(16, 56)), 56);
  const records = episodes.map(({ slot, id, uses = 0, strength = 1, label = '', createdMs = NOW, lastUsedMs = NOW }, i) => {
    const record = Buffer.alloc(104 + 8 * width + 4);
    record.writeUInt32LE(slot ?? i, 0);
    record.writeUInt32LE(uses, 4);
    record.writeFloatLE(strength, 8);
    record.writeUInt32LE(Buffer.byteLength(label), 12);
    record.writeBigUInt64LE(BigInt(id), 16);
    record.writeDoubleLE(createdMs, 24);
    record.writeDoubleLE(lastUsedMs, 32);
    record.write(label, 40);
    record.writeFloatLE(1, 104 + 4 * (i % width));
    record.writeFloatLE(1, 104 + 4 * width);
    record.writeUInt32LE(crc32(record.subarray(0, -4)), record.length - 4);
    return record;
  });
  return new Uint8Array(Buffer.concat([header, ...records]));
}

const archive = (snapshot, { captions = [], thumbnails = [] } = {}) =>
  writeArchive({ model: null, snapshot, captions: new Map(captions), thumbnails: new Map(thumbnails) });

describe('flush saves or rejects', () => {
  test('after the end, and around it', async () => {
    for (let turn = 0; turn < 12; turn += 1) {
      await rm(folder, { recursive: true, force: true });
      const memory = await open();
      await memory.write(picture(10, 10), { now: NOW });
      const flushed = memory.flush().then(() => 'saved', ({ code }) => code);
      for (let i = 0; i < turn; i += 1) await new Promise((resolve) => setTimeout(resolve, 2));
      models[0].dispose();
      await assert.rejects(memory.flush(), code('disposed'));
      const outcome = await flushed;
      const found = (await everything(await open())).length;
      assert.ok(outcome === 'disposed' || (outcome === 'saved' && found === 1), `${outcome}, ${found} found`);
    }
  });

  test('before anything was opened', async () => {
    const memory = await open();
    models[0].dispose();
    for (const call of [() => memory.flush(), () => memory.open(), () => memory.stats()]) await assert.rejects(call(), code('disposed'));
  });

  test('disposed of while it opens, it gives the folder back', async () => {
    const locked = () => readdir(folder).then((names) => names.includes('lock'), () => false);
    for (let turn = 0; turn < 10; turn += 1) {
      await rm(folder, { recursive: true, force: true });
      const memory = await open();
      const opened = memory.open().then(() => {}, code('disposed'));
      while (turn >= 5 && !(await locked())) await new Promise((resolve) => setImmediate(resolve));
      for (let i = 0; i < turn % 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
      models.pop().dispose(); // once
      await opened;
      const { durable, error } = await (await open()).open();
      assert.deepEqual([durable, error], [true, null], `turn ${turn}`);
    }
  });

  test('though only the snapshot was deleted underneath, or all of it, or the journal', async () => {
    for (const names of [['snapshot.bin'], ['snapshot.bin', 'journal.bin'], ['journal.bin'], ['']]) {
      let memory = await open();
      const thumbnail = new Blob([png(picture(4, 4))], { type: 'image/png' });
      await memory.teach(picture(10, 90), 'one', { now: NOW, thumbnail });
      await memory.flush();
      await memory.write(picture(90, 10), { now: NOW });
      await memory.flush();
      const before = await everything(memory);
      for (const name of names) await rm(join(folder, name), { recursive: true });
      await memory.flush(); // nothing has changed, and all the same nothing is there
      memory = await open();
      assert.deepEqual(await everything(memory), before, `without ${names}`);
      if (names[0]) assert.ok(await memory.thumbnail(before.find(({ label }) => label).id), `without ${names}`);
      await memory.clear();
      await memory.flush();
    }
  });
});

describe('fewer slots', () => {
  const many = () => archive(snapshotOf({ slots: 300, sequence: 400, nextId: 301, episodes: Array.from({ length: 300 }, (_, i) => ({ id: i + 1 })) }));

  test('forget nobody; only `shrink` does, when asked', async () => {
    let memory = await open({ slots: 300 });
    await memory.import(await many());
    await memory.flush();
    memory = await open({ slots: 64 });
    const { slots, slotsAsked, occupied } = await memory.stats();
    assert.deepEqual([slots, slotsAsked, occupied], [300, 64, 300]);
    await memory.touch(1);
    await memory.flush();
    memory = await open(); // the model's own number is 8
    assert.deepEqual([(await memory.stats()).slots, (await everything(memory)).length], [300, 300]);
    memory = await open({ slots: 64, shrink: true });
    assert.deepEqual([(await memory.stats()).slots, (await everything(memory)).length], [64, 64]);
    await memory.flush();
    memory = await open({ slots: 64 });
    assert.equal((await everything(memory)).length, 64);
    assert.ok((await everything(memory)).some(({ id, uses }) => id === 1 && uses === 1));
  });

  test('an import makes room, or shrinks when asked', async () => {
    let memory = await open();
    await memory.write(picture(10, 10));
    assert.deepEqual(await memory.import(await many(), { shrink: true }), { loaded: 8, droppedSlots: 0, droppedFrames: 0, leftOut: 292 });
    assert.deepEqual(await memory.import(await many()), { loaded: 300, droppedSlots: 0, droppedFrames: 0, leftOut: 0 });
    await memory.flush();
    memory = await open();
    assert.equal((await everything(memory)).length, 300);
  });
});

describe('an import', () => {
  const EPISODE = { id: 1, label: 'one' };

  test('from a hostile file is refused as a whole', async () => {
    const memory = await open();
    await memory.teach(picture(10, 10), 'mine', { now: NOW });
    const before = JSON.stringify(await everything(memory));
    const good = snapshotOf({ episodes: [EPISODE] });
    const flipped = Buffer.from(good);
    flipped[flipped.length - 50] ^= 1;
    const files = {
      'a sequence at its end': archive(snapshotOf({ sequence: MAX_ID, nextId: 20, episodes: [EPISODE] })), // once: imported, never saved
      'a time beyond the calendar': archive(snapshotOf({ episodes: [{ ...EPISODE, createdMs: 1e300 }] })), // once: imported, no page could show it
      'a time that is none': archive(snapshotOf({ episodes: [{ ...EPISODE, lastUsedMs: Number.NaN }] })),
      'the next id at its end': archive(snapshotOf({ nextId: MAX_ID, episodes: [EPISODE] })),
      'an id at its end': archive(snapshotOf({ nextId: MAX_ID, episodes: [{ ...EPISODE, id: MAX_ID - 1 }] })),
      'two episodes with one id': archive(snapshotOf({ episodes: [EPISODE, EPISODE] })),
      'two episodes in one slot': archive(snapshotOf({ nextId: 9, episodes: [EPISODE, { id: 2, slot: 0 }] })),
      'damage to one episode': archive(new Uint8Array(flipped)),
      'bytes behind the end': archive(new Uint8Array(Buffer.concat([good, Buffer.alloc(1)]))),
      'another width': archive(snapshotOf({ width: 32, episodes: [EPISODE] })),
      'a caption with half a letter': archive(good, { captions: [[1, 'a dog \ud83d']] }),
      'a caption of a megabyte': archive(good, { captions: [[1, 'x'.repeat(1 << 20)]] }),
      'a caption of nobody’s': archive(good, { captions: [[0, 'x']] }),
      'a caption of half an episode': archive(good, { captions: [[1.5, 'x']] }),
      'a thumbnail that is a page': archive(good, { thumbnails: [[1, { type: 'text/html', bytes: Uint8Array.of(60) }]] }),
    };
    for (const [what, file] of Object.entries(files)) {
      await assert.rejects(memory.import(await file), code('invalid_state'), what);
      assert.equal(JSON.stringify(await everything(memory)), before, what);
    }
    await memory.flush();
    assert.equal(JSON.stringify(await everything(await open())), before);
  });

  test('whose file has one bit flipped is refused', async () => {
    const memory = await open();
    await memory.teach(picture(10, 10), 'mine', { now: NOW, thumbnail: new Blob(['tiny'], { type: 'image/png' }) });
    await memory.write(picture(90, 10), { now: NOW });
    const bytes = new Uint8Array(await (await memory.export()).arrayBuffer());
    assert.equal((await readArchive(new Blob([bytes]))).captions.size, 1);
    for (let bit = 0; bit < 8 * bytes.length; bit += 29) {
      const flipped = bytes.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      await assert.rejects(memory.import(new Blob([flipped])), code('invalid_state', 'unsupported_state'), `bit ${bit}`);
    }
  });

  test('at the edges of what can be: what it leaves can be saved and opened again', async () => {
    const seed = Number(process.env.BITMAR_SEED ?? Date.now() % 1_000_000);
    const random = randomFrom(seed);
    const any = (list) => list[Math.floor(random() * list.length)];
    const counts = [1, 2, 3, 9, 2 ** 32, MAX_ID / 2 - 1, MAX_ID / 2, MAX_ID / 2 + 1, MAX_ID - 1, MAX_ID];
    const times = [0, -0, NOW, MAX_TIME, -MAX_TIME, MAX_TIME + 2, 1e300, Number.NaN, Infinity];
    const texts = ['a dog', '', 'ß 犬 🐕', '\u0000', '"]},', '\ud83d', '__proto__'];
    let taken = 0;
    for (let round = 0; round < 60; round += 1) {
      // Sound but for at most one thing, or nothing but edges.
      const odd = Math.floor(random() * 9);
      const often = (index, values, usual) => (odd === index || odd === 8 ? any(values) : usual);
      const episodes = Array.from({ length: 1 + Math.floor(random() * 4) }, (_, i) => ({
        id: often(0, counts, i + 1),
        createdMs: often(1, times, NOW + i),
        lastUsedMs: often(2, times, NOW + i),
        uses: often(3, [0, 1, 2 ** 32 - 1], 0),
        strength: often(4, [0, 1, 3e38, -1, Number.NaN], 1),
        label: any(['', 'name', 'x'.repeat(63)]),
      }));
      const nextId = often(5, counts, Math.max(...episodes.map(({ id }) => id)) + 1);
      const snapshot = snapshotOf({ sequence: often(6, counts, 9), nextId: Math.min(nextId, 2 ** 53), episodes });
      const file = await archive(snapshot, {
        captions: episodes.map(({ id }) => [id, often(7, texts, 'a cat')]),
        thumbnails: [[episodes[0].id, { type: 'image/png', bytes: new Uint8Array(png(picture(3, 3))) }]],
      });
      let memory = await open();
      const before = await everything(memory);
      const what = `round ${round} (BITMAR_SEED=${seed})`;
      try {
        await memory.import(file);
        taken += 1;
      } catch (error) {
        assert.equal(error.code, 'invalid_state', what);
        assert.deepEqual(await everything(memory), before, what);
        continue;
      }
      assert.equal((await everything(memory)).length, episodes.length, what);
      await memory.write(picture(20 + round, 40), { now: NOW + 99 });
      await memory.touch((await everything(memory))[0].id, { now: NOW + 100 });
      await memory.flush();
      const kept = await everything(memory);
      for (const { createdMs, lastUsedMs } of kept) for (const ms of [createdMs, lastUsedMs]) new Date(ms).toISOString();
      const pictures = await Promise.all(kept.map(async ({ id }) => (await memory.thumbnail(id))?.size));
      memory = await open();
      assert.deepEqual(await everything(memory), kept, what);
      assert.deepEqual(await Promise.all(kept.map(async ({ id }) => (await memory.thumbnail(id))?.size)), pictures, what);
      assert.equal(memory.storage.damaged, 0, what);
      // And its own export is taken again, with all that belongs to the episodes.
      const exported = await memory.export();
      const said = kept.map(({ label, caption }) => [label, caption]);
      await memory.import(exported);
      const again = await everything(memory);
      assert.deepEqual(again.map(({ label, caption }) => [label, caption]), said, what);
      assert.deepEqual(await Promise.all(again.map(async ({ id }) => (await memory.thumbnail(id))?.size)), pictures, what);
    }
    assert.ok(taken > 10 && taken < 50, `${taken} of 60 taken`);
  });
});

describe('a new model', () => {
  const pictures = Array.from({ length: 4 }, (_, i) => png(picture(30 + 7 * i, 20 + 11 * i, 1 + 5 * i)));
  const photo = (i) => new Blob([pictures[i]], { type: 'image/png' });

  /** Three episodes with pictures and one without, and their captions and names. */
  async function diary(directory = TINY) {
    const memory = await open({ slots: 64 }, directory);
    for (let i = 0; i < 3; i += 1) await memory.teach(photo(i), `name ${i}`, { now: NOW + i, thumbnail: photo(i) });
    await memory.teach(picture(99, 9, 4), 'no picture', { now: NOW + 3 });
    await memory.label((await everything(memory))[1].id, null);
    await memory.write(photo(0), { now: NOW + 4 }); // to have a caption
    await memory.flush();
    return everything(memory);
  }

  test('sees again what has a picture; the rest is exported, or deleted', async () => {
    const other = await otherTinyModel(join(base, 'other'));
    const before = await diary();
    assert.deepEqual([before.length, before.filter(({ caption }) => caption).length], [4, 1]);
    let memory = await open({}, other);
    const found = await everything(memory);
    assert.deepEqual(found, before.filter(({ label }) => label !== 'no picture'));
    for (const { id } of found) assert.equal((await memory.thumbnail(id)).type, 'image/png');
    // The keys are the new model's own: each picture finds its own episode, as if it had been taught now.
    for (const { id, label } of found) {
      const { matches } = await memory.recall({ image: await memory.thumbnail(id), k: 1 });
      assert.ok(matches[0].similarity > 0.999, `${label}: ${matches[0].similarity}`);
    }
    await memory.flush();

    // The earlier memory is still there, whole.
    const [earlier, ...others] = await memory.earlier();
    assert.deepEqual([earlier.episodes, earlier.pictured, others], [before.length, found.length, []]);
    const file = await earlier.export();
    const another = join(base, 'another');
    await mkdir(another);
    const back = await BitMar.load(TINY, { worker: false, memory: { folder: another } });
    await back.memory.import(file);
    assert.deepEqual(await everything(back.memory), before);
    back.dispose();

    // The second session does not begin again: what was forgotten stays so.
    await memory.forget(found[0].id);
    await memory.flush();
    memory = await open({}, other);
    assert.equal((await everything(memory)).length, found.length - 1);
    await (await memory.earlier())[0].delete();
    assert.deepEqual(await memory.earlier(), []);
    assert.deepEqual((await readdir(join(folder, 'aside'))).filter((name) => name.length === 64), []);
    memory = await open({}, other);
    assert.equal((await everything(memory)).length, found.length - 1);
  });

  test('and the one before, should it come back, has its own memory as it left it', async () => {
    const other = await otherTinyModel(join(base, 'other'));
    const before = await diary();
    let memory = await open({}, other);
    await memory.teach(picture(60, 60, 9), 'of the other', { now: NOW + 9 });
    await memory.flush();
    const later = await everything(memory);
    memory = await open();
    assert.deepEqual(await everything(memory), before);
    await memory.touch(before[0].id, { now: NOW + 20 });
    await memory.flush();
    memory = await open();
    assert.deepEqual(new Set((await everything(memory)).map(({ id }) => id)), new Set(before.map(({ id }) => id)));
    for (const { id, label } of before) assert.equal(Boolean(await memory.thumbnail(id)), label !== 'no picture');
    memory = await open({}, other);
    assert.deepEqual(await everything(memory), later);
  });

  test('of another width', async () => {
    const before = await diary();
    const memory = await open({}, MODEL);
    assert.deepEqual(await everything(memory), before.filter(({ label }) => label !== 'no picture'));
    const { recognised } = await memory.recall({ image: photo(0) });
    assert.equal(recognised?.label, 'name 0');
  });

  test('that is to leave it alone, or is interrupted, begins empty, and nothing is gone', async () => {
    const other = await otherTinyModel(join(base, 'other'));
    const before = await diary();
    const snapshot = await readFile(join(folder, 'snapshot.bin'));
    let memory = await open({ earlier: 'leave' }, other);
    assert.deepEqual(await everything(memory), []);
    assert.equal((await memory.earlier()).length, 1);
    for (let turn = 0; turn < 6; turn += 1) {
      memory = await open({}, other);
      const opened = memory.open().catch(code('disposed'));
      await new Promise((resolve) => setTimeout(resolve, 4 * turn));
      models[0].dispose();
      await opened;
    }
    assert.deepEqual(await readFile(join(folder, 'snapshot.bin')), snapshot);
    memory = await open();
    assert.deepEqual(await everything(memory), before);
    await assert.rejects(open({ earlier: 'eat' }), code('invalid_argument'));
  });
});

test('a folder that nobody else can write is said to be so', async () => {
  const memory = await open();
  assert.equal((await memory.open()).exclusive, true);
  await assert.rejects(new FileStore(folder).load(), code('storage_blocked'));
});
