// model.memory in Chromium: across sessions and tabs, and without storage.
import assert from 'node:assert/strict';
import { relative } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { otherTinyModel } from '../node/helpers.mjs';
import { launch, MODEL, path, serve } from './helpers.mjs';

const MODEL_URL = `/${relative(path(''), MODEL)}/`;
const TINY_URL = '/tests/golden/tiny/';

describe('the memory in Chromium', () => {
  let server, browser;
  before(async () => {
    server = await serve({ root: path('') });
    browser = await launch();
  });
  after(async () => {
    await browser.close();
    await server.close();
  });

  /** A tab with the model; `seen` has the events of its memory. `prepare` runs in it before. */
  async function tab({ model = TINY_URL, options = {}, prepare = () => {}, where = browser } = {}) {
    const page = await where.page();
    await page.goto(`${server.url}tests/browser/blank.html`);
    await page.evaluate(prepare);
    await page.evaluate(async ([address, options]) => {
      const { BitMar } = await import('bitmar');
      globalThis.model = await BitMar.load(address, { memory: options });
      globalThis.memory = model.memory;
      globalThis.seen = [];
      memory.addEventListener('change', ({ change }) => seen.push(change));
      memory.addEventListener('storage', ({ status }) => seen.push(`${status.role} ${status.durable ? 'durable' : status.error?.code}`));
      globalThis.codeOf = (promise) => promise.then(() => 'none', (error) => error.code ?? `${error}`);
      globalThis.noise = (size = 32) => ({ data: crypto.getRandomValues(new Uint8Array(4 * size * size)), width: size, height: size });
      /** Until what is in the memory is on the disk, with nobody asking for it. */
      globalThis.saved = async () => {
        for (;;) {
          const { sequence, savedSequence } = await memory.stats();
          if (savedSequence === sequence) return;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      globalThis.labels = async () => (await memory.list({ limit: 10_000 })).episodes.map(({ label }) => label).reverse();
    }, [model, options]);
    return page;
  }
  const until = (page, word) => page.waitForFunction((word) => globalThis.seen.includes(word), word, { timeout: 60_000 });
  /** Each test begins with nothing. */
  async function wipe(page) {
    await page.evaluate(() => memory.clear().then(() => memory.flush()));
    await page.close();
  }

  test('another session has the episodes with their captions and thumbnails', async () => {
    let page = await tab({ model: MODEL_URL });
    const before = await page.evaluate(async () => {
      const blob = await (await fetch('/web/demo/public/samples/cat.jpg')).blob();
      const { caption } = await memory.write(blob, { thumbnail: true });
      await memory.teach(noise(), 'pattern', { thumbnail: true });
      await memory.flush();
      if (!caption.text) throw new Error('no caption');
      return memory.list();
    });
    assert.equal(before.episodes.length, 2);
    await page.close();
    page = await tab({ model: MODEL_URL });
    const { found, sizes, match, status } = await page.evaluate(async () => {
      const found = await memory.list();
      const sizes = [];
      for (const { id } of found.episodes) {
        const blob = await memory.thumbnail(id);
        const { width, height } = await createImageBitmap(blob);
        sizes.push([blob.type, Math.max(width, height)]);
      }
      const blob = await (await fetch('/web/demo/public/samples/cat.jpg')).blob();
      const { matches } = await memory.recall({ image: blob });
      return { found, sizes, match: matches[0], status: memory.storage };
    });
    assert.deepEqual(found, before);
    assert.deepEqual(sizes, [['image/jpeg', 32], ['image/jpeg', 160]]);
    assert.equal(match.id, before.episodes[1].id);
    assert.deepEqual([status.durable, status.role, status.error], [true, 'writer', null]);
    await wipe(page);
  });

  test('saves by itself: after a while, and when the page is hidden', async () => {
    let page = await tab({ options: { autosaveMs: 100 } });
    await page.evaluate(async () => {
      await memory.teach(noise(), 'one');
      await saved();
    });
    await page.close();
    page = await tab({ options: { autosaveMs: 1e6 } });
    assert.deepEqual(await page.evaluate(() => labels()), ['one']);
    await page.evaluate(async () => {
      await memory.teach(noise(), 'two');
      Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
      document.dispatchEvent(new Event('visibilitychange'));
      await saved();
    });
    await page.close();
    page = await tab();
    assert.deepEqual(await page.evaluate(() => labels()), ['one', 'two']);
    await wipe(page);
  });

  test('two tabs: one writes, the other reads and follows; the role passes on when the writer closes or crashes', async () => {
    const first = await tab();
    await first.evaluate(async () => {
      await memory.teach(noise(), 'one', { thumbnail: true });
      await memory.flush();
    });
    const second = await tab();
    assert.deepEqual(await second.evaluate(() => labels()), ['one']);
    assert.equal(await second.evaluate(() => memory.storage.role), 'reader');

    // Followed: frames, forgetting, clearing.
    const follow = async (change, expected) => {
      await second.evaluate(() => (seen.length = 0));
      await first.evaluate(change);
      await until(second, 'load');
      assert.deepEqual(await second.evaluate(() => labels()), expected);
      assert.deepEqual(await first.evaluate(() => labels()), expected);
    };
    await follow(() => memory.teach(noise(), 'two').then(() => memory.flush()), ['one', 'two']);
    await follow(async () => {
      const { episodes } = await memory.list();
      await memory.forget(episodes[1].id);
      await memory.teach(noise(), 'three', { thumbnail: true });
      await memory.flush();
    }, ['two', 'three']);
    await follow(() => memory.clear().then(() => memory.flush()), []);
    await follow(() => memory.write(noise()).then(() => memory.flush()), [null]);
    assert.ok((await second.evaluate(() => memory.list())).episodes[0].caption !== null);

    // The reader reads only.
    const refused = await second.evaluate(async () => [
      await codeOf(memory.write(noise())),
      await codeOf(memory.teach(noise(), 'x')),
      await codeOf(memory.forget(1)),
      await codeOf(memory.label(1, 'x')),
      await codeOf(memory.clear()),
      await codeOf(memory.export().then((file) => memory.import(file))),
      (await model.caption(noise(), { writeMemory: true })).episode === undefined,
      await codeOf(memory.flush()),
    ]);
    assert.deepEqual(refused, [...Array(6).fill('read_only'), true, 'none']);

    // The writer goes, what it saved stays, and the new writer goes on. (To the tiny model all noise is one: this names it.)
    await first.evaluate(async () => {
      await memory.teach(noise(), 'saved');
      await memory.flush();
    });
    await first.close();
    await until(second, 'writer durable');
    await second.evaluate(async () => {
      await memory.teach(noise(), 'by the second');
      await memory.flush();
    });
    const third = await tab();
    assert.deepEqual(await third.evaluate(() => labels()), ['saved', 'by the second']);
    await second.goto('chrome://crash').catch(() => {});
    await until(third, 'writer durable');
    await third.evaluate(() => memory.teach(noise(), 'by the third').then(() => memory.flush()));
    assert.deepEqual(await third.evaluate(() => labels()), ['saved', 'by the second', 'by the third']);
    await second.close();
    await wipe(third);
  });

  test('different models never mix', async () => {
    const [tiny, large] = [await tab(), await tab({ model: MODEL_URL })];
    await tiny.evaluate(() => memory.teach(noise(), 'tiny').then(() => memory.flush()));
    await large.evaluate(() => memory.teach(noise(), 'large').then(() => memory.flush()));
    assert.deepEqual([await tiny.evaluate(() => labels()), await large.evaluate(() => labels())], [['tiny'], ['large']]);
    for (const page of [tiny, large]) await wipe(page);
  });

  test('a new model sees again what has a picture; the rest is exported, or deleted', async () => {
    const other = path('node_modules/.cache/bitmar-other-tiny');
    await otherTinyModel(other);
    const OTHER_URL = `/${relative(path(''), other)}/`;
    const where = await launch(); // without the memories of other tests
    let page = await tab({ where });
    await page.evaluate(async () => {
      await memory.teach(noise(), 'one', { thumbnail: true });
      await memory.write(noise(), { thumbnail: true }); // to have a caption
      await memory.teach(noise(), 'without a picture');
      await memory.flush();
    });
    const before = await page.evaluate(async () => (await memory.list()).episodes);
    assert.equal(before.length, 2);
    const old = page;
    for (let session = 0; session < 2; session += 1) {
      page = await tab({ where, model: OTHER_URL });
      const found = await page.evaluate(async () => {
        const { episodes } = await memory.list();
        const [earlier, ...rest] = await memory.earlier();
        const thumbnail = await memory.thumbnail(episodes[0].id);
        const { matches } = await memory.recall({ image: thumbnail });
        await memory.flush();
        const { episodes: all, pictured } = earlier;
        const { size } = await earlier.export();
        const blocked = await codeOf(earlier.delete());
        return { episodes, all, pictured, rest: rest.length, similarity: matches[0].similarity, size, blocked };
      });
      assert.deepEqual(found.episodes, before.filter(({ label }) => label === 'one'));
      assert.deepEqual([found.all, found.pictured, found.rest], [2, 1, 0]);
      assert.ok(found.similarity > 0.999, `${found.similarity}`);
      assert.ok(found.size > 500);
      assert.equal(found.blocked, session === 0 ? 'storage_blocked' : 'none'); // while a tab of the earlier model is open
      if (session === 0) await page.close();
      await old.close();
    }
    assert.deepEqual(await page.evaluate(() => memory.earlier()), []);
    await where.close();
  });

  test('stores of their own share a writer only where they say so; a store that says nothing promises nothing', async () => {
    const page = await tab({ options: { persist: false } });
    const found = await page.evaluate(async (address) => {
      const { BitMar } = await import('bitmar');
      const store = (group) => () => ({
        durable: true,
        ...(group && { group }),
        load: async () => ({ snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails: new Map() }),
        append: async () => true,
        replace: async () => {},
        thumbnail: async () => undefined,
        close() {},
      });
      const statuses = [];
      const models = [];
      for (const group of [undefined, undefined, 'a', 'b', 'b']) {
        models.push(await BitMar.load(address, { memory: { store: store(group) } }));
        const { role, exclusive } = await models.at(-1).memory.open();
        statuses.push(`${group} ${role} ${exclusive}`);
      }
      for (const model of models) model.dispose();
      return statuses;
    }, TINY_URL);
    assert.deepEqual(found, ['undefined writer false', 'undefined writer false', 'a writer true', 'b writer true', 'b reader true']);
    await page.close();
  });

  test('disposed of at any moment, it gives the writer’s role back, and a flush saves or rejects', async () => {
    const page = await tab();
    const outcomes = await page.evaluate(async (address) => {
      const { BitMar } = await import('bitmar');
      model.dispose();
      const outcomes = [await codeOf(memory.flush())];
      for (let wait = 0; wait < 40; wait += 4) {
        const one = await BitMar.load(address);
        const opened = one.memory.open().catch(({ code }) => code);
        await new Promise((resolve) => setTimeout(resolve, wait));
        one.dispose();
        await opened;
        const next = await BitMar.load(address);
        outcomes.push((await next.memory.open()).role);
        await next.memory.teach(noise(), `after ${wait}`);
        const flushed = next.memory.flush().then(() => 'saved', ({ code }) => code);
        await new Promise((resolve) => setTimeout(resolve, wait / 2));
        next.dispose();
        const outcome = await flushed;
        const last = await BitMar.load(address);
        const { episodes } = await last.memory.list();
        const there = episodes.some(({ label }) => label === `after ${wait}`);
        outcomes.push(outcome === 'saved' && !there ? 'lost' : outcome === 'saved' || outcome === 'disposed' ? 'true' : outcome);
        last.dispose();
      }
      return outcomes;
    }, TINY_URL);
    assert.deepEqual(outcomes, ['disposed', ...Array(10).fill(['writer', 'true']).flat()]);
    await page.close();
    await wipe(await tab());
  });

  for (const [what, prepare] of [
    ['IndexedDB refuses, as in private modes', () => (IDBFactory.prototype.open = () => { throw new DOMException('denied', 'SecurityError'); })],
    ['there is no secure context', () => delete Navigator.prototype.locks],
  ]) {
    test(`${what}: goes on in memory, and says so`, async () => {
      const page = await tab({ prepare });
      const { found, flush, bytes, seen } = await page.evaluate(async () => {
        const { id } = await memory.teach(noise(), 'here', { thumbnail: true });
        const flush = await codeOf(memory.flush());
        return { found: await labels(), flush, bytes: (await memory.thumbnail(id)).size, seen };
      });
      assert.deepEqual(found, ['here']);
      assert.equal(flush, 'storage_unavailable');
      assert.ok(bytes > 100);
      assert.deepEqual(seen, ['writer storage_unavailable', 'teach']);
      await page.close();
    });
  }

  test('the quota: goes on in memory, keeps the old state, and saves all once there is room', async () => {
    const where = await launch(); // Chromium asks for the quota now and then only: this one has never asked
    const session = await where.context.newCDPSession(await where.page());
    const origin = server.url.slice(0, -1);
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 150_000 });
    let page = await tab({ where, options: { autosaveMs: 1e6 } });
    const results = await page.evaluate(async () => {
      await memory.teach(noise(), 'before');
      const results = [await codeOf(memory.flush())];
      for (let i = 0; results.at(-1) === 'none' && i < 30; i += 1) {
        await memory.teach(noise(), `thumbnail ${i}`, { thumbnail: new Blob([crypto.getRandomValues(new Uint8Array(40_000))], { type: 'image/png' }) });
        results.push(await codeOf(memory.flush()));
      }
      await memory.teach(noise(), 'after');
      return results;
    });
    assert.equal(results.pop(), 'storage_full');
    assert.ok(results.length >= 1 && results.every((code) => code === 'none'), `${results}`);
    const kept = await page.evaluate(async () => (await labels()).length);
    assert.equal(kept, results.length + 2);
    await until(page, 'writer storage_full');
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    assert.equal(await page.evaluate(() => codeOf(memory.flush())), 'none');
    assert.deepEqual(await page.evaluate(() => seen.filter((what) => what.startsWith('writer'))), ['writer durable', 'writer storage_full', 'writer durable']);
    const everything = await page.evaluate(() => labels());
    await page.close();
    page = await tab({ where });
    assert.deepEqual(await page.evaluate(() => labels()), everything);
    await where.close();
  });
});
