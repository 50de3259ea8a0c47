// Everything goes wrong at once, in Chromium: the storm of tests/chaos.mjs with the storage of a browser; pictures of other origins;
// workers that end; pages that freeze; a page whose camera is unplugged and whose buttons are hammered.
// BITMAR_CHAOS_CALLS says how many calls, BITMAR_SEED makes a run again.
import assert from 'node:assert/strict';
import { relative } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CALLS, SEED } from '../chaos.mjs';
import { TINY } from '../node/helpers.mjs';
import { film, host, launch, path, samplePhotos, serve, webcam } from './helpers.mjs';

const MODEL_URL = `/${relative(path(''), TINY)}/`;
let server, browser;
before(async () => {
  server = await serve({ root: path('') });
  browser = await launch('--js-flags=--expose-gc');
});
after(async () => {
  await browser.close();
  await server.close();
});

/** A blank page with a loaded `model`, what the storm needs, and a list of what nobody caught. */
async function modelPage(options = {}) {
  const page = await browser.page();
  const uncaught = [];
  page.on('pageerror', (error) => uncaught.push(error.message));
  await page.goto(`${server.url}tests/browser/blank.html`);
  await page.evaluate(
    async ({ address, options }) => {
      Object.assign(globalThis, await import('bitmar'), await import('/tests/chaos.mjs'));
      globalThis.load = () => BitMar.load(address, options);
      globalThis.model = await load();
      globalThis.codeOf = (promise) => promise.then(() => 'none', (error) => (error instanceof BitMarError ? error.code : `${error}`));
      globalThis.wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      globalThis.drawn = (seed) => {
        const canvas = new OffscreenCanvas(90, 70);
        const context = canvas.getContext('2d');
        for (let i = 0; i < 12; i += 1) {
          context.fillStyle = `hsl(${(37 * seed * i) % 360} 80% 50%)`;
          context.fillRect((17 * i * seed) % 80, (29 * i) % 60, 30, 30);
        }
        return canvas;
      };
    },
    { address: MODEL_URL, options },
  );
  return { page, uncaught };
}

for (const worker of [true, false]) {
  test(`a storm of ${CALLS} calls, ${worker ? 'with a worker' : 'in this thread'}, storage failing and clocks jumping`, async (t) => {
    t.diagnostic(`BITMAR_SEED=${SEED}`);
    const { page, uncaught } = await modelPage({ worker, memory: { autosaveMs: 20 } });
    const result = await page.evaluate(
      async ({ seed, calls }) => {
        const random = randomFrom(seed);
        // The storage: transactions that the browser refuses, and connections that it closes.
        const { transaction } = IDBDatabase.prototype;
        IDBDatabase.prototype.transaction = function (...args) {
          if (args[1] === 'readwrite' && random() < 0.1) throw new DOMException('no more', 'QuotaExceededError');
          if (random() < 0.02) this.close();
          return transaction.apply(this, args);
        };
        const restore = jumpingClock(random);
        const bitmap = await createImageBitmap(drawn(3));
        const pictures = [drawn(1), drawn(2).getContext('2d').getImageData(0, 0, 90, 70), bitmap];
        const closed = await createImageBitmap(drawn(4));
        closed.close();
        const noPicture = [new Blob(['no picture']), new Blob([]), closed];
        // Bitmaps hold memory that the heap does not show: each that the package makes is handed over or closed.
        const made = [];
        const create = createImageBitmap;
        globalThis.createImageBitmap = async (...args) => {
          const bitmap = await create(...args);
          made.push(bitmap);
          return bitmap;
        };
        const blow = () => storm({ model, calls: calls / 2, random, pictures, noPicture });
        const heap = async () => {
          for (let i = 0; i < 3; i += 1) (gc(), await wait(50));
          return performance.memory.usedJSHeapSize;
        };
        const early = await blow();
        const before = await heap();
        const late = await blow();
        const grown = (await heap()) - before;
        restore();
        IDBDatabase.prototype.transaction = transaction;
        await model.memory.flush();
        const { durable } = model.memory.storage;
        const waiting = Array.from({ length: 5 }, () => codeOf(model.caption(drawn(1))));
        await wait(5);
        model.dispose();
        await Promise.all(waiting);
        const open = made.filter(({ width }) => width > 0).length;
        return { wrong: [...early.wrong, ...late.wrong], counts: late.counts, grown, durable, open, made: made.length };
      },
      { seed: SEED, calls: CALLS },
    );
    assert.deepEqual(result.wrong, []);
    assert.equal(result.durable, true, 'and saved in the end');
    assert.deepEqual(uncaught.filter((message) => message !== 'of the caller'), []);
    assert.ok(result.made > CALLS / 10, `${result.made} bitmaps`);
    assert.equal(result.open, 0, 'bitmaps left open');
    assert.ok(result.grown < 10e6, `${(result.grown / 1e6).toFixed(1)} MB more`);
    t.diagnostic(`${(result.grown / 1e6).toFixed(1)} MB more in the second half; ${JSON.stringify(result.counts)}`);
    await page.close();
  });
}

for (const worker of [true, false]) {
  test(`a picture of another origin is refused, and the next call works, ${worker ? 'with a worker' : 'in this thread'}`, async () => {
    const foreign = await host(server.url, '/', { 'cross-origin-resource-policy': 'cross-origin' });
    const { page, uncaught } = await modelPage({ worker });
    const codes = await page.evaluate(async (address) => {
      const image = Object.assign(new Image(), { src: address });
      await image.decode();
      const canvas = Object.assign(document.createElement('canvas'), { width: 50, height: 50 });
      canvas.getContext('2d').drawImage(image, 0, 0);
      const codes = [];
      for (const source of [image, canvas, await createImageBitmap(image)]) {
        // Alone, behind another call, and before one.
        const good = model.caption(drawn(1));
        const calls = [model.caption(source), good, model.caption(source), model.memory.teach(source, 'cup'), model.memory.recall({ image: source }), model.caption(drawn(2))];
        codes.push(...(await Promise.all(calls.map(codeOf))));
        codes.push(await codeOf(model.caption(source)), await codeOf(model.caption(drawn(1))));
      }
      return codes;
    }, `${foreign.url}web/demo/public/samples/cat.jpg`);
    const [bad, good] = ['invalid_image', 'none'];
    const expected = [bad, good, bad, bad, bad, good, bad, good];
    assert.deepEqual(codes, [...expected, ...expected, ...expected]);
    assert.deepEqual(uncaught, []);
    await page.close();
    await foreign.close();
  });
}

test('functions that throw end their own call, and are reported where there is none', async () => {
  const { page, uncaught } = await modelPage();
  await page.evaluate(`globalThis.playingVideo = ${playingVideo}`);
  const result = await page.evaluate(async () => {
    const fail = () => {
      throw new Error('of the caller');
    };
    const own = (promise) => promise.then(() => 'none', (error) => error.message);
    const results = [await own(model.caption(drawn(1), { onToken: fail })), await own(load().then((other) => other.dispose()))];
    model.memory.addEventListener('change', fail);
    await model.memory.teach(drawn(1), 'cup');
    results.push(await codeOf(model.caption(drawn(2))));

    const video = await playingVideo();
    const watched = (options) => new Promise((resolve) => model.watch(video, { onError: (error) => resolve(error.message), ...options }));
    results.push(await watched({ onCaption: fail }), await watched({ onCaption() {}, onFrame: fail }));
    model.watch(video, { onCaption: fail }); // nobody to tell but the browser
    await wait(1000);
    results.push(await codeOf(model.caption(video)));
    for (const wrong of [() => model.watch(video), () => model.watch(drawn(1), { onCaption() {} }), () => model.watch(null, { onCaption() {} })]) {
      try {
        wrong();
      } catch (error) {
        results.push(error.code);
      }
    }
    return results;
  });
  const own = 'of the caller';
  assert.deepEqual(result, [own, 'none', 'none', own, own, 'none', ...Array(3).fill('invalid_argument')]);
  assert.deepEqual(uncaught, [own, own, own]); // opening the memory and teaching, and the last watch
  await page.close();
});

test('a worker that ends, however it does: every call says so, and another model works', async () => {
  const { page, uncaught } = await modelPage({ threads: 1 }); // so that there is one worker
  for (const end of ['self.close()', 'setTimeout(() => { throw new Error("gone") })']) {
    const [worker] = page.workers().slice(-1);
    const codes = page.evaluate(async () => {
      const code = (call) => Promise.race([codeOf(call), wait(60_000).then(() => 'never settled')]);
      const calls = Array.from({ length: 200 }, (_, i) => code(i % 3 ? model.caption(drawn(1)) : model.memory.stats()));
      const codes = await Promise.all(calls);
      codes.push(await code(model.caption(drawn(1))));
      model.dispose();
      globalThis.model = await load();
      return [...codes, await codeOf(model.caption(drawn(1)))];
    });
    await worker.evaluate(end).catch(() => {}); // it may be gone before it answers
    const [last, after, ...rest] = (await codes).reverse();
    assert.deepEqual([last, after], ['none', 'worker_failed'], end);
    assert.ok(rest.every((code) => code === 'none' || code === 'worker_failed'), [...new Set(rest)].join());
  }
  assert.deepEqual(uncaught, []);
  await page.close();
});

for (const threads of [1, 2]) {
  test(`a worker that hangs with ${threads} threads: an aborted call ends, the others go on in another worker, which remembers the same`, async () => {
    const { page, uncaught } = await modelPage({ threads, memory: { autosaveMs: 1e6 } });
    let started = 0;
    page.on('worker', () => (started += 1));
    const before = await page.evaluate(async () => {
      await model.memory.clear();
      await model.memory.teach(drawn(1), 'saved');
      await model.memory.flush();
      await model.memory.teach(drawn(2), 'not saved yet');
      // One that lets go in time is left alone, although the page is busy for longer.
      const stop = new AbortController();
      const caption = codeOf(model.caption(drawn(1), { prompt: 'a', readMemory: false, maxTokens: 1e6, signal: stop.signal }));
      await wait(50);
      stop.abort();
      for (const until = performance.now() + 1500; performance.now() < until; );
      const { episodes } = await model.memory.list();
      return { caption: await caption, episodes, tokens: (await model.caption(drawn(3), { maxTokens: 5, readMemory: false })).tokens };
    });
    assert.deepEqual([before.caption, before.episodes.length, started], ['aborted', 2, 0]);
    const [worker] = page.workers();
    await worker.evaluate('setTimeout(() => { for (;;); })');
    const after = await page.evaluate(async () => {
      await wait(200);
      const stop = new AbortController();
      const caption = codeOf(model.caption(drawn(1), { signal: stop.signal }));
      await wait(300); // until it is with the worker
      const waiting = [model.caption(drawn(3), { maxTokens: 5, readMemory: false }), model.memory.list()];
      stop.abort();
      const [{ tokens }, { episodes }] = await Promise.all(waiting);
      await model.memory.flush();
      const { durable } = model.memory.storage;
      model.dispose();
      return { caption: await caption, episodes, tokens, durable };
    });
    assert.deepEqual(after, { ...before, durable: true });
    assert.equal(started, threads);
    assert.deepEqual(uncaught, []);
    await page.close();
  });
}

/** On the page: a video that plays, without a camera. */
async function playingVideo() {
  const canvas = Object.assign(document.createElement('canvas'), { width: 90, height: 70 });
  const context = canvas.getContext('2d');
  setInterval(() => context.drawImage(drawn(1 + (Date.now() % 5)), 0, 0), 30);
  const video = Object.assign(document.createElement('video'), { muted: true, srcObject: canvas.captureStream() });
  document.body.append(video);
  await video.play();
  return video;
}

test('a live caption goes on when the page was hidden, and whatever the clock says', async () => {
  const { page, uncaught } = await modelPage();
  const seen = await page.evaluate(
    `(async () => {
      const video = await (${playingVideo})();
      let captions = 0;
      const errors = [];
      const watch = model.watch(video, { interval: 50, onCaption: () => (captions += 1), onError: (error) => errors.push(error.message) });
      const more = async () => {
        const before = captions;
        for (let i = 0; i < 200 && captions < before + 3; i += 1) await wait(50);
        return captions >= before + 3;
      };
      const seen = [await more()];
      let hidden = true;
      Object.defineProperty(document, 'hidden', { get: () => hidden });
      await wait(500);
      const before = captions;
      await wait(500);
      seen.push(captions - before);
      hidden = false;
      seen.push(await more());
      const { now } = performance;
      performance.now = () => now.call(performance) + (Math.random() - 0.5) * 2 * 86400000;
      seen.push(await more());
      watch.stop();
      return [...seen, ...errors];
    })()`,
  );
  assert.deepEqual(seen, [true, 0, true, true]);
  assert.deepEqual(uncaught, []);
  await page.close();
});

test('a page that freezes in the middle of calls goes on afterwards', async () => {
  const { page, uncaught } = await modelPage();
  const session = await browser.context.newCDPSession(page);
  await page.evaluate(() => {
    globalThis.done = 0;
    globalThis.calls = Promise.all(Array.from({ length: 60 }, async () => (await codeOf(model.caption(drawn(1)))) === 'none' && (done += 1)));
  });
  for (let i = 0; i < 4; i += 1) {
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(await page.evaluate(() => calls.then(() => done)), 60);
  assert.deepEqual(uncaught, []);
  await page.close();
});

describe('the page', () => {
  let site, live, file;
  before(async () => {
    site = await serve({ root: path('web/demo/dist') });
    file = await film(await browser.page(), (await samplePhotos()).slice(0, 2), 0.5);
    live = await launch(...webcam(file));
  });
  after(async () => {
    await live.close();
    await site.close();
  });

  /** The page, loaded, with every camera track that it was ever given in `tracks`. */
  async function open() {
    const page = await live.page();
    const uncaught = [];
    page.on('pageerror', (error) => uncaught.push(error.message));
    await page.addInitScript(() => {
      globalThis.tracks = [];
      const { mediaDevices } = navigator;
      const getUserMedia = mediaDevices.getUserMedia.bind(mediaDevices);
      globalThis.asking = 0;
      mediaDevices.getUserMedia = async (wanted) => {
        asking += 1;
        try {
          const stream = await getUserMedia(wanted);
          tracks.push(...stream.getTracks());
          return stream;
        } finally {
          asking -= 1;
        }
      };
      globalThis.liveTracks = () => tracks.filter(({ readyState }) => readyState === 'live').length;
    });
    await page.goto(site.url);
    await page.waitForFunction(() => document.querySelector('#announce').textContent, undefined, { timeout: 60_000 });
    return { page, uncaught };
  }
  /** Whether the camera is on, which it is exactly when the page shows it. */
  async function settled(page) {
    do await page.waitForTimeout(1500);
    while (await page.evaluate(() => asking > 0)); // for a camera
    const { tracks, shown, source } = await page.evaluate(() => ({ tracks: liveTracks(), shown: !document.querySelector('#live').hidden, source: document.querySelector('#video').srcObject !== null }));
    assert.equal(tracks, shown ? 1 : 0, `${tracks} tracks, ${shown ? 'shown' : 'not shown'}`);
    assert.equal(source, shown);
    return shown;
  }

  test('a worker that ends: the model is started again, once, and everything on the page is there once', async () => {
    const { page, uncaught } = await open();
    const loads = [];
    page.on('worker', (worker) => loads.push(worker));
    await page.click('#camera');
    await page.waitForFunction(() => !document.querySelector('#live').hidden);
    await page.workers()[0].evaluate('self.close()').catch(() => {});
    await page.waitForFunction(() => document.querySelector('#live').hidden, undefined, { timeout: 60_000 });
    await page.waitForFunction(() => document.querySelector('#loading').hidden, undefined, { timeout: 60_000 });
    await page.waitForTimeout(1000);
    assert.equal(await settled(page), false);
    const before = await page.textContent('#announce');
    await page.locator('.samples button').nth(2).click();
    await page.waitForFunction((old) => document.querySelector('#announce').textContent !== old, before, { timeout: 60_000 });
    assert.equal(await page.isHidden('#notice'), true);

    let downloads = 0;
    page.on('download', () => (downloads += 1));
    await page.evaluate(() => (document.getElementById('export').disabled = false));
    const first = page.waitForEvent('download', { timeout: 60_000 });
    await page.click('#export');
    await first;
    await page.waitForTimeout(1000); // for a second one
    assert.equal(downloads, 1);
    // One engine, whose second thread is a worker, too.
    const threads = await page.evaluate(() => (crossOriginIsolated && navigator.hardwareConcurrency > 1 ? 2 : 1));
    assert.equal(loads.length, threads);

    // And not over and over: a second time at once it asks.
    await page.evaluate(() => document.getElementById('camera').click());
    await page.waitForFunction(() => !document.querySelector('#live').hidden);
    await page.workers()[0].evaluate('self.close()').catch(() => {});
    await page.waitForFunction(() => /stopped again/.test(document.querySelector('#notice:not([hidden])')?.textContent), undefined, { timeout: 60_000 });
    await page.click('#retry');
    await page.waitForFunction(() => document.querySelector('#loading').hidden && document.querySelector('#notice').hidden, undefined, { timeout: 60_000 });
    assert.deepEqual(uncaught, []);
    await page.close();
  });
});
