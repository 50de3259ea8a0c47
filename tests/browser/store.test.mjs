// The IndexedDB store in Chromium, and everything that can happen to a connection.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { complaints, launch, path, serve } from './helpers.mjs';

let server, browser;
before(async () => {
  server = await serve({ root: path('') });
  browser = await launch();
});
after(async () => {
  await browser.close();
  await server.close();
});

/** A blank page with a store of that name, and helpers. */
async function storePage(name, where = browser) {
  const page = await where.page();
  const wrong = complaints(page, server.url);
  await page.goto(`${server.url}tests/browser/blank.html`);
  await page.evaluate(async (name) => {
    const { IndexedDbStore } = await import('/web/bitmar/dist/store/indexeddb.js');
    globalThis.storeName = name;
    globalThis.open = (options) => new IndexedDbStore(name, options);
    globalThis.store = open();
    globalThis.bytes = (...values) => Uint8Array.from(values);
    globalThis.attachments = (given = {}) => ({ cleared: false, removed: [], evicted: [], captions: new Map(), thumbnails: new Map(), ...given });
    globalThis.plain = ({ snapshot, frames, captions, thumbnails }) => ({
      snapshot: snapshot && [...snapshot],
      frames: frames.map((frame) => [...frame]),
      captions: [...captions],
      thumbnails: [...thumbnails],
    });
    globalThis.saved = async () => plain(await open().load());
    globalThis.codeOf = (promise) => promise.then((value) => value ?? 'done', (error) => error.code ?? `${error}`);
    globalThis.fill = async () => {
      await store.load();
      await store.replace(bytes(1, 2), 7, attachments({ captions: new Map([[1, 'a dog']]), thumbnails: new Map([[1, { type: 'image/jpeg', bytes: bytes(9, 9) }]]) }));
      return store.append(bytes(3), 7, attachments({ captions: new Map([[2, 'a cat']]) }));
    };
  }, name);
  return { page, wrong };
}

const NOTHING = { snapshot: null, frames: [], captions: [], thumbnails: [] };
const FILLED = { snapshot: [1, 2], frames: [[3]], captions: [[1, 'a dog'], [2, 'a cat']], thumbnails: [[1, 2]] };

describe('the IndexedDB store', () => {
  let page, wrong;
  let number = 0;
  beforeEach(async () => {
    ({ page, wrong } = await storePage(`store-${(number += 1)}`));
  });
  afterEach(() => page.close());
  const run = (work, argument) => page.evaluate(work, argument);
  const saved = () => run(() => saved());

  test('holds nothing at first, and then what was put into it', async () => {
    assert.deepEqual(await saved(), NOTHING);
    assert.equal(await run(() => fill()), true);
    assert.deepEqual(await saved(), FILLED);
    assert.deepEqual(await run(async () => Object.values((await store.thumbnail(1)).bytes)), [9, 9]);
    assert.equal(await run(async () => (await store.thumbnail(5)) === undefined), true);
    assert.deepEqual(wrong, []);
  });

  test('a frame without a snapshot is refused', async () => {
    assert.equal(await run(async () => (await store.load(), store.append(bytes(1), 7, attachments()))), false);
    assert.deepEqual(await saved(), NOTHING);
  });

  test('removes captions and thumbnails with their episodes; a snapshot takes the place of the journal', async () => {
    await run(async () => {
      await fill();
      await store.append(bytes(4), 7, attachments({ removed: [1] }));
    });
    assert.deepEqual(await saved(), { snapshot: [1, 2], frames: [[3], [4]], captions: [[2, 'a cat']], thumbnails: [] });
    await run(() => store.replace(bytes(5), 7, attachments()));
    assert.deepEqual(await saved(), { snapshot: [5], frames: [], captions: [[2, 'a cat']], thumbnails: [] });
    await run(async () => {
      await store.append(bytes(6), 7, attachments({ cleared: true, captions: new Map([[9, 'new']]) }));
      const other = open();
      await other.load();
      await other.append(bytes(7), 7, attachments());
    });
    assert.deepEqual(await saved(), { snapshot: [5], frames: [[6], [7]], captions: [[9, 'new']], thumbnails: [] });
  });

  test('writes with strict durability, and resolves when the transaction is complete', async () => {
    const { durabilities, order } = await run(async () => {
      const durabilities = [];
      const order = [];
      const { transaction } = IDBDatabase.prototype;
      IDBDatabase.prototype.transaction = function (...args) {
        const made = transaction.apply(this, args);
        if (made.mode === 'readwrite') {
          durabilities.push(made.durability);
          made.addEventListener('complete', () => order.push('complete'));
        }
        return made;
      };
      await store.load();
      await store.replace(bytes(1), 7, attachments());
      order.push('replaced');
      await store.append(bytes(2), 7, attachments());
      order.push('appended');
      return { durabilities, order };
    });
    assert.deepEqual(durabilities, ['strict', 'strict']);
    assert.deepEqual(order, ['complete', 'replaced', 'complete', 'appended']);
  });

  test('gives way to another version or a deletion, and then goes on', async () => {
    const result = await run(async () => {
      await fill();
      const other = open({ version: 2 }); // would wait for ever for a connection that stays open
      await other.load();
      const newer = await codeOf(store.append(bytes(4), 7, attachments()));
      other.close();
      return { newer };
    });
    assert.equal(result.newer, 'unsupported_state');
    assert.deepEqual(await run(async () => plain(await open({ version: 2 }).load())), FILLED);
  });

  test('deleted meanwhile: the frame is refused, a snapshot begins anew', async () => {
    const results = await run(async () => {
      await fill();
      await new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase(storeName);
        Object.assign(request, { onsuccess: resolve, onerror: reject });
      });
      const refused = await store.append(bytes(4), 7, attachments());
      await store.replace(bytes(5), 7, attachments());
      return [refused, await store.append(bytes(6), 7, attachments())];
    });
    assert.deepEqual(results, [false, true]);
    assert.deepEqual(await saved(), { snapshot: [5], frames: [[6]], captions: [], thumbnails: [] });
  });

  test('site data cleared by the browser: the same', async () => {
    await run(() => fill());
    const session = await browser.context.newCDPSession(page);
    await session.send('Storage.clearDataForOrigin', { origin: server.url.slice(0, -1), storageTypes: 'indexeddb' });
    assert.equal(await run(() => store.append(bytes(4), 7, attachments())), false);
    await run(() => store.replace(bytes(5), 7, attachments()));
    assert.deepEqual((await saved()).snapshot, [5]);
  });

  test('emptied in part: says so, and refuses a frame that would build on what is gone', async () => {
    const raw = (work) => run(async (source) => {
      const database = await new Promise((resolve) => Object.assign(indexedDB.open(storeName), { onsuccess: ({ target }) => resolve(target.result) }));
      const transaction = database.transaction(['state', 'journal', 'captions', 'thumbnails'], 'readwrite');
      new Function('at', `(${source})(at)`)((name) => transaction.objectStore(name));
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      database.close();
    }, `${work}`);
    await run(() => fill());
    assert.equal(await run(() => store.holds()), true);
    await raw((at) => at('journal').clear());
    assert.equal(await run(() => store.holds()), false);
    assert.equal(await run(() => store.append(bytes(4), 7, attachments())), false);
    await run(() => fill());
    await raw((at) => at('state').delete('snapshot'));
    assert.equal(await run(() => store.holds()), false);
    assert.deepEqual((await saved()).frames, [[3]]); // the journal still says what it knows

    // What has another shape is counted and passed over; a snapshot that has is an error.
    await run(() => fill());
    await raw((at) => {
      at('journal').put({ bytes: 'no', sequence: 1 }, 1);
      at('captions').put({ no: 'text' }, 5);
      at('thumbnails').put('no', 6);
    });
    assert.deepEqual(await saved(), FILLED);
    assert.equal(await run(async () => (await open().load()).damaged), 3);
    assert.equal(await run(() => codeOf(store.thumbnail(6))), 'invalid_state');
    await raw((at) => at('state').put('no', 'snapshot'));
    assert.equal(await run(() => codeOf(open().load())), 'invalid_state');
  });

  test('a flipped bit in a caption or a thumbnail is refused, counted and set aside; what earlier versions wrote has no checksum and opens', async () => {
    const raw = (source) => run(async (source) => {
      const database = await new Promise((resolve) => Object.assign(indexedDB.open(storeName), { onsuccess: ({ target }) => resolve(target.result) }));
      const transaction = database.transaction(['state', 'captions', 'thumbnails'], 'readwrite');
      const at = (name, id) => new Promise((resolve) => (transaction.objectStore(name).get(id).onsuccess = ({ target }) => resolve(target.result)));
      const result = await new Function('at', 'put', `return (${source})(at, put)`)(at, (name, value, id) => transaction.objectStore(name).put(value, id));
      database.close();
      return result;
    }, `${source}`);
    const both = () => run(async () => {
      const { captions, damaged } = await open().load();
      return [[...captions], damaged, ...(await Promise.all([1, 3].map((id) => codeOf(store.thumbnail(id).then((found) => found && [...found.bytes]))))) ];
    });
    await run(async () => {
      await fill();
      await store.append(bytes(4), 7, attachments({ captions: new Map([[3, 'ein Hündchen']]), thumbnails: new Map([[3, { type: 'image/png', bytes: bytes(1, 2, 3) }]]) }));
    });
    const all = [[1, 'a dog'], [2, 'a cat'], [3, 'ein Hündchen']];
    assert.deepEqual(await both(), [all, 0, [9, 9], [1, 2, 3]]);

    await raw(async (at, put) => {
      const caption = await at('captions', 2);
      put('captions', { ...caption, text: 'a bat' }, 2);
      put('captions', await at('captions', 1), 3); // of another episode
      const thumbnail = await at('thumbnails', 3);
      thumbnail.bytes[1] ^= 1;
      put('thumbnails', thumbnail, 3);
    });
    assert.deepEqual(await both(), [[all[0]], 2, [9, 9], 'invalid_state']);
    // Reading deletes nothing; setting aside moves what was refused.
    assert.equal(await raw(async (at) => (await at('captions', 2)).text), 'a bat');
    await run(async () => {
      await store.load();
      await store.setAside();
    });
    assert.deepEqual(await raw(async (at) => (await at('state', 'aside-1')).captions.map(([id, { text }]) => `${id} ${text}`)), ['1 a dog', '2 a bat', '3 a dog']);
    assert.deepEqual((await both()).slice(0, 2), [[all[0]], 0]);

    await raw(async (_, put) => {
      put('captions', 'a dog', 1);
      put('captions', 'a cat', 2);
      put('thumbnails', { type: 'image/jpeg', bytes: Uint8Array.of(9, 9) }, 1);
    });
    assert.deepEqual((await both()).slice(0, 3), [[all[0], all[1]], 0, [9, 9]]);
  });

  test('and the memory says so', async () => {
    const found = await run(async () => {
      const { BitMar } = await import('bitmar');
      const picture = (seed) => ({ data: Uint8Array.from({ length: 40 * 30 * 4 }, (_, i) => i * seed), width: 40, height: 30 });
      const load = async () => {
        const model = await BitMar.load('/tests/golden/tiny/', { threads: 1 });
        model.told = [];
        model.memory.addEventListener('storage', ({ status }) => model.told.push(status.damaged));
        return model;
      };
      let model = await load();
      const { id } = await model.memory.write(picture(3), { thumbnail: true });
      await model.memory.flush();
      model.dispose();
      const { name } = (await indexedDB.databases()).find(({ name }) => /^bitmar-memory-/.test(name));
      const database = await new Promise((resolve) => Object.assign(indexedDB.open(name), { onsuccess: ({ target }) => resolve(target.result) }));
      const transaction = database.transaction(['captions', 'thumbnails'], 'readwrite');
      for (const [store, field] of [['captions', 'text'], ['thumbnails', 'type']]) {
        transaction.objectStore(store).get(id).onsuccess = ({ target }) => {
          const value = target.result;
          transaction.objectStore(store).put({ ...value, [field]: `${value[field]}!` }, id);
        };
      }
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      database.close();

      model = await load();
      const [{ caption }] = (await model.memory.list()).episodes;
      const seen = [caption, (await model.memory.stats()).damaged];
      seen.push((await model.memory.thumbnail(id)) ?? 'none', (await model.memory.stats()).damaged);
      await model.memory.touch(id);
      await model.memory.flush();
      seen.push(model.told);
      model.dispose();
      model = await load();
      seen.push((await model.memory.list()).episodes.length, (await model.memory.stats()).damaged);
      model.dispose();
      return seen;
    });
    assert.deepEqual(found, [null, 1, 'none', 2, [1, 2], 1, 0]);
  });

  test('what is set aside stays until it is dropped, whatever is written', async () => {
    const aside = () => run(async () => {
      const database = await new Promise((resolve) => Object.assign(indexedDB.open(storeName), { onsuccess: ({ target }) => resolve(target.result) }));
      const state = database.transaction('state').objectStore('state');
      const request = state.getAllKeys();
      const keys = await new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
      const first = state.get('aside-1');
      const value = await new Promise((resolve) => (first.onsuccess = () => resolve(first.result)));
      database.close();
      return [keys, value && [[...value.state.bytes], value.journal.length, value.captions.map(([id, { text }]) => [id, text]), value.thumbnails.length]];
    });
    await run(async () => {
      await fill();
      await store.setAside();
      await store.replace(bytes(7), 7, attachments({ cleared: true }));
    });
    assert.deepEqual(await aside(), [['aside-1', 'snapshot'], [[1, 2], 1, [[1, 'a dog'], [2, 'a cat']], 1]]);
    assert.deepEqual(await saved(), { ...NOTHING, snapshot: [7] });
    await run(() => store.eraseAside([1, 9]));
    assert.deepEqual(await aside(), [['aside-1', 'snapshot'], [[1, 2], 1, [[2, 'a cat']], 0]]);
    // Nor does another one take its place, whatever is gone meanwhile.
    await run(async () => {
      await store.setAside();
      const database = await new Promise((resolve) => Object.assign(indexedDB.open(storeName), { onsuccess: ({ target }) => resolve(target.result) }));
      const transaction = database.transaction('state', 'readwrite');
      transaction.objectStore('state').delete('aside-1');
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      database.close();
      await store.setAside();
    });
    assert.deepEqual((await aside())[0], ['aside-2', 'aside-3', 'snapshot']);
    await run(() => store.dropAside());
    assert.deepEqual((await aside())[0], ['snapshot']);
    await run(() => store.close());
    assert.equal(await run(() => codeOf(store.append(bytes(4), 7, attachments()))), 'disposed');
  });

  test('an upgrade that an older tab blocks is a typed error; so is an open that is never answered', async () => {
    const { page: other } = await storePage(`store-${number}`);
    const codes = await run(async () => {
      await fill();
      // A tab of an older version, which does not listen.
      store.close();
      await new Promise((resolve) => Object.assign(indexedDB.open(storeName, 1), { onsuccess: ({ target }) => resolve((globalThis.old = target.result)) }));
      return [];
    });
    codes.push(await other.evaluate(() => codeOf(open({ version: 2 }).load())));
    codes.push(await other.evaluate(() => codeOf(open({ version: 2, patienceMs: 200 }).load()))); // waits behind the first
    await run(() => old.close());
    assert.deepEqual(await other.evaluate(async () => plain(await open({ version: 2 }).load())), FILLED);
    assert.deepEqual(codes, ['storage_blocked', 'storage_blocked']);
    await other.close();
  });

  for (const [what, error] of [
    ['closed while in the background', 'InvalidStateError'],
    ['whose server died', 'UnknownError'],
  ]) {
    test(`a connection ${what} is opened again and nothing is lost`, async () => {
      const opened = await run(async (name) => {
        let opened = 0;
        const { open: openDatabase } = IDBFactory.prototype;
        IDBFactory.prototype.open = function (...args) {
          opened += 1;
          return openDatabase.apply(this, args);
        };
        await fill();
        const { transaction } = IDBDatabase.prototype;
        for (const work of [() => store.append(bytes(4), 7, attachments()), () => store.load(), () => store.replace(bytes(5), 7, attachments())]) {
          IDBDatabase.prototype.transaction = () => {
            IDBDatabase.prototype.transaction = transaction;
            throw new DOMException('Connection to Indexed Database server lost. Refresh the page to try again', name);
          };
          if ((await work()) === false) throw new Error('refused');
        }
        return opened;
      }, error);
      assert.equal(opened, 4);
      assert.deepEqual(await saved(), { ...FILLED, snapshot: [5], frames: [] });
    });
  }

  test('a transaction that is aborted under way is done again, once', async () => {
    const result = await run(async () => {
      await fill();
      const { put } = IDBObjectStore.prototype;
      IDBObjectStore.prototype.put = function (...args) {
        IDBObjectStore.prototype.put = put;
        const request = put.apply(this, args);
        this.transaction.abort();
        return request;
      };
      const once = await codeOf(store.append(bytes(4), 7, attachments()));
      IDBObjectStore.prototype.put = function (...args) {
        const request = put.apply(this, args);
        this.transaction.abort();
        return request;
      };
      const always = await codeOf(store.append(bytes(5), 7, attachments()));
      IDBObjectStore.prototype.put = put;
      return [once, always, await codeOf(store.append(bytes(6), 7, attachments()))];
    });
    assert.deepEqual(result, [true, 'storage_unavailable', true]);
    assert.deepEqual(await saved(), { ...FILLED, frames: [[3], [4], [6]] });
  });

  test('the quota: a typed error, the old state stays, and there is room again after', async () => {
    const other = await launch(); // Chromium asks for the quota now and then only: this one has never asked
    const { page } = await storePage('quota', other);
    const run = (work) => page.evaluate(work);
    const session = await other.context.newCDPSession(page);
    const origin = server.url.slice(0, -1);
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 200_000 });
    await run(() => fill());
    const large = () => run(() => codeOf(store.append(crypto.getRandomValues(new Uint8Array(60_000)), 7, attachments({ captions: new Map([[5, 'no']]) }))));
    const results = [];
    while (results.length < 10 && results.at(-1) !== 'storage_full') results.push(await large());
    assert.equal(results.pop(), 'storage_full');
    assert.equal((await run(() => saved())).frames.length, 1 + results.length);
    assert.ok(results.every((result) => result === true) && results.length < 4, `${results}`);
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    assert.equal(await large(), true);
    assert.equal((await run(() => saved())).frames.length, 2 + results.length);
    await other.close();
  });

  for (const [what, block] of [
    ['refuses to open', () => (IDBFactory.prototype.open = () => { throw new DOMException('denied', 'SecurityError'); })],
    ['fails to open', () => {
      IDBFactory.prototype.open = () => {
        const request = new EventTarget();
        setTimeout(() => request.dispatchEvent(new Event('error')));
        return Object.assign(request, { error: new DOMException('A mutation operation was attempted on a database that did not allow mutations.', 'InvalidStateError') });
      };
    }],
    ['is not there', () => Object.defineProperty(globalThis, 'indexedDB', { value: undefined })],
  ]) {
    test(`storage that ${what}, as in private modes, is a typed error`, async () => {
      await run(block);
      assert.equal(await run(() => codeOf(store.load())), 'storage_unavailable');
      assert.equal(await run(() => codeOf(store.replace(bytes(1), 7, attachments()))), 'storage_unavailable');
      assert.equal(await run(() => codeOf(store.thumbnail(1))), 'storage_unavailable');
    });
  }
});
