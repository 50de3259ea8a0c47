// The file system fails under the store, once or from some moment on, at every place where it can: no episode and no thumbnail is lost that
// a flush acknowledged, and when the fault is over everything can be saved. BITMAR_FAULTS says at how many places (default 6 of some 440;
// "all"), BITMAR_SEED chooses them again.
import { disk, plan } from './failing-disk.mjs';

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { randomFrom } from '../chaos.mjs';
import { otherTinyModel, picture, png, TINY } from './helpers.mjs';

const FAULTS = process.env.BITMAR_FAULTS ?? '6';
const SEED = Number(process.env.BITMAR_SEED ?? Date.now() % 1_000_000);
const photo = (i) => picture(40 + 9 * i, 20 + ((i * 37) % 60), i + 1);
const thumbnail = (i) => new Blob([png(picture(6, 6, i + 1))], { type: 'image/png' });

let base, other;
before(async () => {
  base = await mkdtemp(join(tmpdir(), 'bitmar-disk-'));
  other = await otherTinyModel(join(base, 'other'));
});
after(() => rm(base, { recursive: true }));

const load = (directory, folder) => BitMar.load(directory, { worker: false, memory: { folder, slots: 64, autosaveMs: 1e6, earlier: 'leave' } });

/** What a new session would find: the names, and those that have no thumbnail. */
async function found(directory, folder) {
  const copy = join(base, 'copy');
  await rm(copy, { recursive: true, force: true });
  await cp(folder, copy, { recursive: true });
  const model = await load(directory, copy);
  const { damaged, error } = await model.memory.open();
  const { episodes } = await model.memory.list({ limit: 1000 });
  const bare = [];
  for (const { id, label } of episodes) if (!(await model.memory.thumbnail(id))) bare.push(label);
  model.dispose();
  return { names: episodes.map(({ label }) => label).sort(), bare, damaged, error: error?.code };
}

/** Two models by turns: teach, forget, import, another session. The number of operations; `faults` are as in `disk`. */
async function live(faults) {
  const folder = join(base, `memory-${Math.random()}`);
  plan(folder, faults);
  const forGood = disk.times === Infinity;
  const acknowledged = { [TINY]: [], [other]: [] };
  const names = { [TINY]: new Map(), [other]: new Map() };
  let model, whose;
  const where = () => `${disk.failed[0]} fails ${forGood ? 'for good' : 'once'}, ${disk.mode} it was done`;
  const check = async (damaged = 0) => {
    for (const directory of [TINY, other]) {
      if (!acknowledged[directory].length) continue;
      const there = await found(directory, folder);
      const what = `${where()}: ${JSON.stringify(there)}`;
      for (const name of acknowledged[directory]) assert.ok(there.names.includes(name), `${name} is lost; ${what}`);
      assert.deepEqual([there.bare, there.damaged, there.error], [[], damaged, undefined], what);
    }
  };
  /** What fails once goes well the next time. */
  const again = async (call) => {
    for (let turn = 0; ; turn += 1) {
      try {
        return await call();
      } catch (error) {
        assert.ok(error.code?.startsWith('storage_'), `${error.stack}; ${where()}`);
        if (forGood) throw error;
        assert.ok(turn < 3, `${error.code} ${error.message}; ${where()}`);
      }
    }
  };
  const session = async (directory) => {
    model?.dispose();
    whose = directory;
    await again(async () => {
      model?.dispose();
      model = await load(directory, folder);
      const { error } = await model.memory.open();
      if (error) throw error;
    });
  };
  const teach = async (i) => {
    const { id } = await model.memory.teach(photo(i), `name ${i}`, { thumbnail: thumbnail(i) });
    names[whose].set(`name ${i}`, id);
  };
  const flush = async () => {
    await again(() => model.memory.flush());
    acknowledged[whose] = [...names[whose].keys()];
    if (!forGood && disk.failed.length) await check();
  };
  try {
    await session(TINY);
    await teach(0);
    await flush();
    await teach(1);
    await teach(2);
    await flush();
    await model.memory.forget(names[TINY].get('name 0'));
    names[TINY].delete('name 0');
    acknowledged[TINY] = ['name 1', 'name 2'];
    await flush();
    await model.memory.import(await again(() => model.memory.export()));
    await flush();
    await teach(3);
    await flush();
    await session(other);
    await teach(4);
    await flush();
    await teach(5);
    await flush();
    await session(TINY);
    await teach(6);
    await flush();
    await session(other);
    await teach(7);
    await flush();
  } catch (error) {
    if (!forGood || !error.code?.startsWith('storage_')) throw error;
  } finally {
    model?.dispose();
  }
  const { count } = disk;
  await new Promise((resolve) => setImmediate(resolve));
  plan(undefined);
  await check();
  if (!forGood) assert.equal(acknowledged[TINY].length + acknowledged[other].length, 7);
  await rm(folder, { recursive: true, force: true });
  return count;
}

describe('a disk that fails', () => {
  const random = randomFrom(SEED);
  for (const faults of [{ mode: 'before' }, { mode: 'after', code: 'ENOSPC' }, { mode: 'before', times: Infinity }]) {
    test(`${faults.times ? 'from some moment on' : `once, ${faults.mode} it was done`} (BITMAR_SEED=${SEED})`, async (t) => {
      const operations = await live({});
      const step = FAULTS === 'all' ? 1 : Math.max(1, operations / Number(FAULTS));
      let places = 0;
      for (let at = Math.floor(random() * step); at < operations; at += step, places += 1) await live({ ...faults, at: Math.floor(at) });
      t.diagnostic(`at ${places} of ${operations} places`);
    });
  }
});
