// Saving and loading, with an engine that is a list and a store that fails on demand.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { code, path } from './helpers.mjs';

const { MemoryKeeper } = await import(path('web/bitmar/dist/memory/keeper.js'));
const { BitMarError } = await import(path('web/bitmar/dist/api/errors.js'));

const encode = (value) => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** An engine whose episodes are texts, and whose frames list them by the number of their change. */
class Engine {
  episodes = new Map();
  changes = new Map();
  sequence = 0;
  asked = [];

  set(id, text) {
    this.sequence += 1;
    this.changes.set(id, this.sequence);
    if (text === undefined) this.episodes.delete(id);
    else this.episodes.set(id, text);
  }

  async memory(name, question) {
    this.asked.push(name);
    switch (name) {
      case 'load': {
        const whole = question.snapshot ? decode(question.snapshot) : { episodes: [...this.episodes], sequence: this.sequence };
        this.episodes = new Map(whole.episodes);
        this.sequence = whole.sequence;
        let droppedFrames = 0;
        for (const frame of question.frames) {
          try {
            const { changes, sequence } = decode(frame);
            for (const [id, text] of changes) text === null ? this.episodes.delete(id) : this.episodes.set(id, text);
            this.sequence = sequence;
          } catch {
            droppedFrames += 1;
          }
        }
        return { loaded: this.episodes.size, droppedSlots: whole.dropped ?? 0, droppedFrames, gaps: 0, leftOut: 0, sequence: this.sequence };
      }
      case 'snapshot':
        return { bytes: encode({ episodes: [...this.episodes], sequence: this.sequence }), sequence: this.sequence };
      case 'changes': {
        const changes = [...this.changes].filter(([, at]) => at > question.since).map(([id]) => [id, this.episodes.get(id) ?? null]);
        return { bytes: changes.length ? encode({ changes, sequence: this.sequence }) : new Uint8Array(), sequence: this.sequence };
      }
      case 'list':
        return [...this.episodes.keys()].map((id) => ({ id }));
      case 'clear':
        for (const id of [...this.episodes.keys()]) this.set(id, undefined);
        return null;
      default:
        throw new Error(name);
    }
  }
}

/** What outlives keepers: a store's contents. */
class Disk {
  snapshot = null;
  frames = [];
  sequence = 0;
  captions = new Map();
  thumbnails = new Map();
  failure = undefined;
  damaged = 0;
  delay = 1;
  aside = [];
  open = 0;

  store() {
    const disk = this;
    const attach = ({ cleared, removed, evicted, captions, thumbnails }) => {
      if (cleared) disk.captions.clear(), disk.thumbnails.clear();
      for (const id of removed) disk.captions.delete(id), disk.thumbnails.delete(id);
      for (const id of evicted) disk.thumbnails.delete(id);
      for (const [id, text] of captions) disk.captions.set(id, text);
      for (const [id, thumbnail] of thumbnails) disk.thumbnails.set(id, thumbnail);
    };
    const check = async () => {
      await new Promise((resolve) => setTimeout(resolve, disk.delay));
      if (disk.failure) throw new BitMarError(disk.failure, 'It fails on demand');
    };
    disk.open += 1;
    return {
      durable: true,
      async load() {
        await check();
        const sizes = [...disk.thumbnails].map(([id, { bytes }]) => [id, bytes.length]);
        return { snapshot: disk.snapshot, frames: [...disk.frames], sequence: disk.sequence, captions: new Map(disk.captions), thumbnails: new Map(sizes), damaged: disk.damaged };
      },
      async append(frame, sequence, attachments) {
        await check();
        if (!disk.snapshot) return false;
        disk.frames.push(frame);
        disk.sequence = sequence;
        attach(attachments);
        return true;
      },
      async replace(snapshot, sequence, attachments) {
        await check();
        disk.snapshot = snapshot;
        disk.frames = [];
        disk.sequence = sequence;
        attach(attachments);
      },
      async thumbnail(id) {
        return disk.thumbnails.get(id);
      },
      close() {
        disk.open -= 1;
      },
      async holds() {
        return disk.snapshot !== null;
      },
      async setAside() {
        disk.aside.push(disk.snapshot);
      },
      async dropAside() {
        disk.aside = [];
      },
    };
  }
}

const thumbnail = (bytes) => ({ type: 'image/jpeg', bytes: new Uint8Array(bytes) });

function keeperOf(disk, options = {}) {
  const host = new Engine();
  const seen = [];
  const keeper = new MemoryKeeper({
    host,
    slots: undefined,
    openStore: disk && (async () => disk.store()),
    shrink: false,
    see: undefined,
    hasTabs: false,
    autosaveMs: 5,
    thumbnailBytes: 1000,
    onStatus: ({ durable, error }) => seen.push(durable ? 'durable' : `memory: ${error?.code}`),
    onLoad: () => seen.push('load'),
    ...options,
  });
  const write = (id, text, bytes) => {
    host.set(id, text);
    keeper.attached.attach(id, text, bytes && thumbnail(bytes));
    keeper.changed();
  };
  return { keeper, host, seen, write };
}

async function episodesOn(disk) {
  const { keeper, host } = keeperOf(disk);
  await keeper.open();
  keeper.close();
  return { episodes: [...host.episodes], captions: [...keeper.attached.captions] };
}
const same = (...entries) => ({ episodes: entries, captions: entries });

describe('the keeper', () => {
  test('first a snapshot, then frames with what changed; another session has it all', async () => {
    const disk = new Disk();
    const { keeper, write, seen } = keeperOf(disk);
    await keeper.open();
    write(1, 'a');
    await keeper.save();
    assert.deepEqual(decode(disk.snapshot).episodes, [[1, 'a']]);
    write(2, 'b');
    write(3, 'c');
    await keeper.save();
    await keeper.save();
    assert.deepEqual(disk.frames.map((frame) => decode(frame).changes), [[[2, 'b'], [3, 'c']]]);
    assert.deepEqual(seen, ['load', 'durable']);
    assert.equal(keeper.dirty, false);
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b'], [3, 'c']));
    keeper.close();
  });

  test('saves by itself, soon, also while changes go on', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    for (let id = 1; id < 40; id += 1) {
      write(id, `${id}`);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    assert.ok(disk.frames.length >= 3, `${disk.frames.length} frames`);
    keeper.close();
  });

  test('saves that are asked for at once are done together', async () => {
    const disk = new Disk();
    const { keeper, host, write } = keeperOf(disk);
    await keeper.open();
    write(1, 'a');
    await Promise.all(Array.from({ length: 10 }, () => keeper.save()));
    assert.equal(host.asked.filter((name) => name === 'snapshot').length, 1);
    keeper.close();
  });

  test('a journal that outgrows its snapshot is replaced by another snapshot', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    let most = 0;
    for (let i = 0; i < 60; i += 1) {
      write(1 + (i % 3), `${i} ${'x'.repeat(5000)}`);
      await keeper.save();
      most = Math.max(most, disk.frames.length);
    }
    assert.ok(most > 5 && most < 20, `${most} frames`);
    assert.deepEqual(await episodesOn(disk), same(...[57, 58, 59].map((i) => [1 + (i % 3), `${i} ${'x'.repeat(5000)}`])));
    keeper.close();
  });

  test('a full storage: goes on in memory, says so, keeps the old state, and saves all once there is room', async () => {
    const disk = new Disk();
    const { keeper, write, seen } = keeperOf(disk, { autosaveMs: 10_000 });
    await keeper.open();
    write(1, 'a', 10);
    await keeper.save();
    disk.failure = 'storage_full';
    write(2, 'b', 20);
    await assert.rejects(keeper.save(), code('storage_full'));
    write(3, 'c');
    keeper.attached.remove(1);
    await assert.rejects(keeper.save(), code('storage_full'));
    assert.equal(keeper.status.durable, false);
    assert.equal(keeper.status.error.code, 'storage_full');
    assert.equal((await keeper.thumbnail(2)).bytes.length, 20);
    disk.failure = undefined;
    assert.deepEqual((await episodesOn(disk)).captions, [[1, 'a']]);
    await keeper.save();
    assert.deepEqual(seen, ['load', 'durable', 'memory: storage_full', 'durable']);
    assert.deepEqual([...disk.captions], [[2, 'b'], [3, 'c']]);
    assert.deepEqual([...disk.thumbnails.keys()], [2]);
    keeper.close();
  });

  test('no storage at all, as in private modes', async () => {
    const disk = new Disk();
    disk.failure = 'storage_unavailable';
    const { keeper, write, seen } = keeperOf(disk);
    await keeper.open();
    assert.deepEqual(seen, ['memory: storage_unavailable']);
    disk.failure = undefined; // too late: what is there was never read
    write(1, 'a', 10);
    await assert.rejects(keeper.save(), code('storage_unavailable'));
    assert.equal((await keeper.thumbnail(1)).bytes.length, 10);
    assert.equal(disk.snapshot, null);
    keeper.close();
  });

  test('nothing is to be kept', async () => {
    const { keeper, host, write, seen } = keeperOf(undefined);
    await keeper.open();
    write(1, 'a', 10);
    await keeper.save();
    assert.equal((await keeper.thumbnail(1)).bytes.length, 10);
    assert.deepEqual([seen, host.asked], [[], []]);
    keeper.close();
  });

  test('a state that cannot be read is left alone, until everything begins anew', async () => {
    const disk = new Disk();
    disk.failure = 'invalid_state';
    const { keeper, write, seen } = keeperOf(disk);
    await keeper.open();
    disk.failure = undefined;
    write(1, 'a');
    await assert.rejects(keeper.save(), code('invalid_state'));
    assert.equal(disk.snapshot, null);
    keeper.beginAnew(false);
    write(2, 'b');
    await keeper.save();
    assert.deepEqual(seen, ['memory: invalid_state', 'durable']);
    assert.ok(disk.snapshot);
    assert.equal(disk.aside.length, 1);
    assert.deepEqual([...disk.captions], [[2, 'b']]);
    keeper.close();
  });

  test('a storage that somebody emptied is filled again', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    write(1, 'a', 10);
    await keeper.save();
    Object.assign(disk, { snapshot: null, frames: [], captions: new Map(), thumbnails: new Map() });
    write(2, 'b', 20);
    await keeper.save();
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b']));
    assert.deepEqual([...disk.thumbnails.keys()], [2]);
    assert.equal(keeper.attached.budget.bytes, 20);
    // Also where nothing has changed; and what is still there stays.
    Object.assign(disk, { snapshot: null, frames: [] });
    await keeper.save();
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b']));
    assert.deepEqual([...disk.thumbnails.keys()], [2]);
    write(3, 'c');
    await keeper.save();
    assert.equal(disk.frames.length, 1);
    keeper.close();
  });

  test('after a damaged frame comes a snapshot: nothing is acknowledged that a later load would skip', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    write(1, 'a');
    await keeper.save();
    disk.frames.push(encode('damaged').subarray(2));
    const second = keeperOf(disk);
    await second.keeper.open();
    second.write(2, 'b');
    await second.keeper.save();
    assert.equal(disk.frames.length, 0);
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b']));
    for (const one of [keeper, second.keeper]) one.close();
  });

  test('a load that changes something, as one into fewer slots does, is followed by a snapshot too', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    write(1, 'a');
    await keeper.save();
    disk.sequence -= 1;
    const second = keeperOf(disk);
    await second.keeper.open();
    second.write(2, 'b');
    await second.keeper.save();
    second.write(3, 'c');
    await second.keeper.save();
    assert.deepEqual([decode(disk.snapshot).episodes.length, disk.frames.length], [2, 1]);
    for (const one of [keeper, second.keeper]) one.close();
  });

  test('what was damaged is told, and set aside before it is replaced', async () => {
    const disk = new Disk();
    const first = keeperOf(disk);
    await first.keeper.open();
    first.write(1, 'a');
    await first.keeper.save();
    first.keeper.close();
    disk.damaged = 2;
    const kept = disk.snapshot;
    const told = [];
    const { keeper, write } = keeperOf(disk, { onStatus: ({ durable, damaged }) => told.push([durable, damaged]) });
    await keeper.open();
    assert.deepEqual(told, [[true, 2]]);
    assert.deepEqual([disk.snapshot, disk.aside], [kept, []]); // reading changes nothing
    write(2, 'b');
    disk.failure = 'storage_full';
    await assert.rejects(keeper.save(), code('storage_full'));
    disk.failure = undefined;
    await keeper.save();
    assert.equal(disk.aside[0], kept);
    assert.equal(keeper.status.damaged, 2);
    disk.damaged = 0;
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b']));
    keeper.beginAnew(true);
    await keeper.save();
    assert.deepEqual(disk.aside, []);
    keeper.close();
  });

  test('closed: whatever was taken is given back, once what is under way has ended', async () => {
    for (const moment of [0, 1, 2, 3, 5, 8, 13, 21, 34]) {
      const disk = new Disk();
      disk.delay = 5;
      const { keeper, write } = keeperOf(disk, { openStore: async () => (await new Promise((resolve) => setTimeout(resolve, 5)), disk.store()) });
      const opened = keeper.open().then(() => 'opened', ({ code }) => code);
      const saved = opened.then(async () => (write(1, 'a'), keeper.save().then(() => 'saved', ({ code }) => code)));
      await new Promise((resolve) => setTimeout(resolve, moment));
      keeper.close();
      assert.ok(['opened', 'disposed'].includes(await opened));
      const outcome = await saved;
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(disk.open, 0, `after ${moment} ms`);
      assert.equal(outcome, disk.snapshot ? 'saved' : 'disposed', `after ${moment} ms`);
      await assert.rejects(keeper.save(), code('disposed'));
      await assert.rejects(keeper.open(), code('disposed'));
    }
  });

  test('a save that was begun before the end tells the truth, and one that waits for its turn too', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    disk.delay = 20;
    write(1, 'a');
    const first = keeper.save();
    await new Promise((resolve) => setTimeout(resolve, 5));
    write(2, 'b');
    const second = keeper.save();
    keeper.close();
    assert.equal(disk.open, 1);
    await first;
    await assert.rejects(second, code('disposed'));
    assert.deepEqual(decode(disk.snapshot).episodes.map(([id]) => id), [1]);
    assert.equal(disk.open, 0);
  });

  test('a store that can only be read: a reader, and why', async () => {
    const disk = new Disk();
    const first = keeperOf(disk);
    await first.keeper.open();
    first.write(1, 'a');
    await first.keeper.save();
    const { keeper, host, seen } = keeperOf(disk, { openStore: async () => Object.assign(disk.store(), { readOnly: true }) });
    await keeper.open();
    assert.deepEqual([keeper.status.role, keeper.status.durable, keeper.status.error.code], ['reader', false, 'read_only']);
    assert.deepEqual([...host.episodes], [[1, 'a']]);
    assert.equal(seen.at(-1), 'memory: read_only');
    for (const one of [keeper, first.keeper]) one.close();
  });

  test('captions and thumbnails of episodes that were damaged go', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    write(1, 'a', 10);
    write(2, 'b', 10);
    await keeper.save();
    disk.snapshot = encode({ ...decode(disk.snapshot), episodes: [[1, 'a']], dropped: 1 });
    const second = keeperOf(disk);
    await second.keeper.open();
    assert.deepEqual([...second.keeper.attached.captions], [[1, 'a']]);
    await second.keeper.save();
    assert.deepEqual([[...disk.captions.keys()], [...disk.thumbnails.keys()]], [[1], [1]]);
    for (const one of [keeper, second.keeper]) one.close();
  });

  test('thumbnails stay within their bytes, also when these become fewer', async () => {
    const disk = new Disk();
    const { keeper, write } = keeperOf(disk);
    await keeper.open();
    for (let id = 1; id <= 8; id += 1) write(id, `${id}`, 300);
    await keeper.save();
    assert.deepEqual([...disk.thumbnails.keys()], [6, 7, 8]);
    keeper.attached.remove(7);
    await keeper.save();
    assert.deepEqual([...disk.thumbnails.keys()], [6, 8]);
    const less = keeperOf(disk, { thumbnailBytes: 400 });
    await less.keeper.open();
    await less.keeper.save();
    assert.deepEqual([...disk.thumbnails.keys()], [8]);
    for (const one of [keeper, less.keeper]) one.close();
  });
});

/** As navigator.locks, which node lacks: of each name one holder, and a queue. */
class Locks {
  #queues = new Map();

  async request(name, { ifAvailable = false, signal }, take) {
    const queue = this.#queues.get(name) ?? [];
    this.#queues.set(name, queue);
    if (ifAvailable && queue.length) return take(null);
    const turn = {};
    turn.comes = new Promise((comes, gone) => {
      turn.begin = comes;
      signal?.addEventListener('abort', () => turn !== queue[0] && (queue.splice(queue.indexOf(turn), 1), gone(signal.reason)));
    });
    if (queue.push(turn) === 1) turn.begin();
    await turn.comes;
    await take({ name });
    queue.shift();
    queue[0]?.begin();
  }
}

describe('keepers of several tabs', () => {
  const keepers = [];
  before(() => (globalThis.navigator = { locks: new Locks() }));
  after(() => delete globalThis.navigator);
  afterEach(() => keepers.splice(0).forEach((keeper) => keeper.close())); // an open one keeps the process alive

  async function tab(disk) {
    const told = [];
    const one = keeperOf(disk, {
      hasTabs: true,
      openStore: async () => Object.assign(disk.store(), { group: 'tabs' }),
      onStatus: ({ role, durable }) => told.push(`${role}${durable ? '' : ', not durable'}`),
    });
    keepers.push(one.keeper);
    await one.keeper.open();
    return { ...one, told };
  }
  const until = async (done) => {
    for (let i = 0; i < 200 && !done(); i += 1) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(done(), String(done));
  };

  test('one writes, the other follows and takes its place; what the first did last is there', async () => {
    const disk = new Disk();
    const [first, second] = [await tab(disk), await tab(disk)];
    assert.deepEqual([first.told, second.told], [['writer'], ['reader']]);
    first.write(1, 'a');
    await first.keeper.save();
    await until(() => second.host.episodes.size === 1);
    const loads = second.host.asked.length;
    first.write(2, 'b');
    await first.keeper.save();
    await until(() => second.host.episodes.size === 2);
    assert.deepEqual(second.host.asked.slice(loads), ['load'], 'the frame alone');
    assert.deepEqual([...second.keeper.attached.captions], [[1, 'a'], [2, 'b']]);

    const before = [disk.snapshot, disk.frames.length];
    second.write(9, 'a reader writes nothing');
    assert.equal(second.keeper.dirty, false);
    await second.keeper.save();
    assert.deepEqual([disk.snapshot, disk.frames.length], before);

    first.write(3, 'c');
    const last = first.keeper.save();
    await new Promise((resolve) => setTimeout(resolve));
    first.keeper.close();
    await last;
    await until(() => second.keeper.status.role === 'writer');
    assert.deepEqual(second.told, ['reader', 'writer']);
    assert.deepEqual([...second.host.episodes], [[1, 'a'], [2, 'b'], [3, 'c']]);
    second.write(4, 'd');
    await second.keeper.save();
    second.keeper.close();
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b'], [3, 'c'], [4, 'd']));
    assert.equal(disk.open, 0);
  });

  test('a follower that is closed never writes, and lets the next one have its turn', async () => {
    const disk = new Disk();
    const [first, second, third] = [await tab(disk), await tab(disk), await tab(disk)];
    second.keeper.close();
    first.keeper.close();
    await until(() => third.keeper.status.role === 'writer');
    assert.deepEqual([first.told, second.told, third.told], [['writer'], ['reader'], ['reader', 'writer']]);
    await assert.rejects(second.keeper.save(), code('disposed'));
    third.keeper.close();
    assert.equal(disk.open, 0);
  });

  test('of two tabs that could not read what was kept, one begins anew: the other has the new memory, and saves to it', async () => {
    const disk = new Disk();
    disk.failure = 'invalid_state';
    const [first, second] = [await tab(disk), await tab(disk)];
    assert.equal(second.keeper.status.error.code, 'invalid_state');
    disk.failure = undefined;
    first.keeper.beginAnew(true);
    first.write(1, 'a');
    await first.keeper.save();
    await until(() => second.host.episodes.size === 1);
    assert.deepEqual([second.keeper.status.durable, second.keeper.status.error], [true, null]);
    first.keeper.close();
    await until(() => second.keeper.status.role === 'writer');
    second.write(2, 'b');
    await second.keeper.save();
    second.keeper.close();
    assert.deepEqual(await episodesOn(disk), same([1, 'a'], [2, 'b']));
    assert.equal(disk.open, 0);
  });

  test('who takes the place of a writer and cannot read what was kept says so, and may begin anew', async () => {
    const disk = new Disk();
    const [first, second] = [await tab(disk), await tab(disk)];
    first.write(1, 'a');
    await first.keeper.save();
    await until(() => second.host.episodes.size === 1);
    disk.failure = 'invalid_state';
    first.keeper.close();
    await until(() => second.keeper.status.error?.code === 'invalid_state');
    assert.equal(second.keeper.status.role, 'writer');
    second.write(2, 'b');
    await assert.rejects(second.keeper.save(), code('invalid_state'));
    disk.failure = undefined;
    second.keeper.beginAnew(false);
    await second.keeper.save();
    assert.ok(second.keeper.status.durable);
    assert.equal(disk.aside.length, 1);
    second.keeper.close();
    assert.equal(disk.open, 0);
  });
});
