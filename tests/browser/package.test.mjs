// The package in Chromium, unbundled, as its own files lie on the disk.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { picture, png } from '../node/helpers.mjs';
import { complaints, disposeNodeModel, film, host, launch, MODEL, nodeCaption, path, samplePhotos, SAMPLES, serve, webcam } from './helpers.mjs';

const MODEL_URL = `/${relative(path(''), MODEL)}/`;
let server;
before(async () => {
  server = await serve({ root: path('') });
});
after(async () => {
  await server.close();
  disposeNodeModel();
});

/** A blank page with the package as `bitmar`, a loaded `model`, and helpers. */
async function packagePage(browser) {
  const page = await browser.page();
  const wrong = complaints(page, server.url);
  await page.goto(`${server.url}tests/browser/blank.html`);
  await page.evaluate(async (address) => {
    globalThis.bitmar = await import('bitmar');
    globalThis.model = await bitmar.BitMar.load(address);
    globalThis.codeOf = (promise) => promise.then(() => 'none', (error) => (error instanceof bitmar.BitMarError ? error.code : `${error}`));
    globalThis.plain = ({ data, width, height }) => {
      let text = '';
      for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
      return { base64: btoa(text), width, height };
    };
    globalThis.pixelsOf = (drawable, width, height) => {
      const context = new OffscreenCanvas(width, height).getContext('2d');
      context.drawImage(drawable, 0, 0);
      return context.getImageData(0, 0, width, height);
    };
  }, MODEL_URL);
  return { page, wrong };
}

describe('the package in Chromium', () => {
  let browser, page, wrong;
  before(async () => {
    browser = await launch();
    ({ page, wrong } = await packagePage(browser));
  });
  after(() => browser.close());

  test('a small file that claims too many pixels is refused before the browser decodes it', async () => {
    // The header's size alone is wrong: whoever decodes it finds no such picture.
    for (const claim of [{ width: 20_000, height: 20_000 }, { width: 100_000, height: 4_000 }, { width: 8_000, height: 8_000 }]) {
      const bytes = [...png(picture(3, 4), claim)];
      const found = await page.evaluate(async (bytes) => codeOf(model.caption(new Blob([new Uint8Array(bytes)]))), bytes);
      assert.equal(found, 'image_too_large');
    }
    // One that the browser has decoded already.
    const drawn = () => {
      const canvas = new OffscreenCanvas(20_000, 1);
      canvas.getContext('2d').fillRect(0, 0, 9, 1);
      return codeOf(model.caption(canvas));
    };
    assert.equal(await page.evaluate(drawn), 'image_too_large');
  });

  test('every kind of source gives the caption that node gives for those pixels', async () => {
    const { pixels, captions } = await page.evaluate(async () => {
      const image = Object.assign(new Image(), { src: '/web/demo/public/samples/astronaut.jpg' });
      await image.decode();
      const { naturalWidth: width, naturalHeight: height } = image;
      const pixels = pixelsOf(image, width, height);
      const canvas = Object.assign(document.createElement('canvas'), { width, height });
      canvas.getContext('2d').putImageData(pixels, 0, 0);
      const offscreen = new OffscreenCanvas(width, height);
      offscreen.getContext('2d').putImageData(pixels, 0, 0);
      const bitmap = await createImageBitmap(pixels);
      const frame = new VideoFrame(pixels.data.slice(), { format: 'RGBX', codedWidth: width, codedHeight: height, timestamp: 0 });
      const rgb = { data: pixels.data.filter((_, i) => i % 4 < 3), width, height };
      const blob = await (await fetch(image.src)).blob();
      const png = await offscreen.convertToBlob({ type: 'image/png' });
      const sources = { image, pixels, canvas, offscreen, bitmap, frame, raw: { data: pixels.data, width, height }, rgb, blob, png };
      const captions = {};
      for (const [name, source] of Object.entries(sources)) {
        const { text, tokens } = await model.caption(source);
        captions[name] = { text, tokens };
      }
      // They are still the caller's.
      if (bitmap.width !== width || frame.codedWidth !== width || pixels.data.length === 0) throw new Error('a source was taken away');
      frame.close();
      return { pixels: plain(pixels), captions };
    });
    const expected = await nodeCaption(pixels);
    assert.ok(expected.text);
    for (const [name, caption] of Object.entries(captions)) assert.deepEqual(caption, expected, name);
  });

  test('the bundled photos: as in node', async () => {
    for (const name of SAMPLES) {
      const { pixels, caption } = await page.evaluate(async (url) => {
        const image = Object.assign(new Image(), { src: url });
        await image.decode();
        const { text, tokens } = await model.caption(image);
        return { pixels: plain(pixelsOf(image, image.naturalWidth, image.naturalHeight)), caption: { text, tokens } };
      }, `/web/demo/public/samples/${name}.jpg`);
      assert.deepEqual(caption, await nodeCaption(pixels), name);
    }
  });

  test('60 crops of the bundled photos, as JPEG files: as in node', async (t) => {
    const texts = new Set();
    for (let i = 0; i < 60; i += 1) {
      const { pixels, caption } = await page.evaluate(async ([name, part, at]) => {
        const whole = await createImageBitmap(await (await fetch(`/web/demo/public/samples/${name}.jpg`)).blob());
        const [width, height] = [whole.width, whole.height].map((side) => Math.round(part * side));
        const canvas = new OffscreenCanvas(width, height);
        canvas.getContext('2d').drawImage(whole, -at * (whole.width - width), -(1 - at) * (whole.height - height));
        const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.8 });
        const bitmap = await createImageBitmap(blob);
        const { text, tokens } = await model.caption(blob);
        return { pixels: plain(pixelsOf(bitmap, width, height)), caption: { text, tokens } };
      }, [SAMPLES[i % SAMPLES.length], 0.3 + i / 100, (i % 7) / 6]);
      texts.add(caption.text);
      assert.deepEqual(caption, await nodeCaption(pixels), `crop ${i}`);
    }
    assert.ok(texts.size > 20, `${texts.size} different captions`);
    t.diagnostic(`${texts.size} different captions`);
  });

  test('a worker of the same origin is started by its address, not by a blob: that imports it', () => {
    const addresses = page.workers().map((worker) => worker.url());
    assert.ok(addresses.length > 0 && addresses.every((address) => address.startsWith(server.url)), addresses.join());
  });

  test('all builds give the same captions', async () => {
    const texts = await page.evaluate(async (address) => {
      const blob = await (await fetch('/web/demo/public/samples/raccoon.jpg')).blob();
      const texts = [];
      for (const [build, threads] of [['simd', 1], ['relaxed', 1], ['relaxed-threads', 1], ['relaxed-threads', 2]]) {
        const other = await bitmar.BitMar.load(address, { build, threads });
        if (other.info.build !== build || other.info.threads !== threads) throw new Error(JSON.stringify(other.info));
        if (!other.info.kernels.startsWith(build.split('-')[0])) throw new Error(other.info.kernels);
        texts.push((await other.caption(blob)).tokens.join());
        other.dispose();
      }
      return texts;
    }, MODEL_URL);
    assert.deepEqual(new Set(texts).size, 1, texts.join('\n'));
  });

  test('two threads where there are two cores and memory can be shared; one where the caller wants it so', async () => {
    const infos = await page.evaluate(async (address) => {
      const infos = [model.info];
      for (const options of [{ threads: 1 }, { threads: 64 }, { worker: false }, { wasmUrl: '/web/bitmar/dist/wasm/bitmar-relaxed.wasm' }]) {
        const other = await bitmar.BitMar.load(address, options);
        infos.push(other.info);
        other.dispose();
      }
      const cores = navigator.hardwareConcurrency;
      const codes = [await codeOf(bitmar.BitMar.load(address, { build: 'relaxed-threads', worker: false })), await codeOf(bitmar.BitMar.load(address, { threads: 0 }))];
      return { infos: infos.map(({ build, threads }) => `${build} ${threads}`), cores, codes };
    }, MODEL_URL);
    const { cores } = infos;
    const many = (most) => (cores > 1 ? `relaxed-threads ${Math.min(most, cores)}` : 'relaxed 1');
    assert.deepEqual(infos.infos, [many(2), 'relaxed 1', many(64), 'relaxed 1', 'relaxed 1']);
    assert.deepEqual(infos.codes, ['unsupported_platform', 'invalid_argument']);
  });

  test('captions from two threads, a hundred in a row, are those of one', async () => {
    const wrong = await page.evaluate(async (address) => {
      const one = await bitmar.BitMar.load(address, { threads: 1 });
      let wrong = 0;
      const context = new OffscreenCanvas(90, 70).getContext('2d', { willReadFrequently: true });
      for (let i = 0; i < 100; i += 1) {
        context.fillStyle = `hsl(${37 * i} 80% 50%)`;
        context.fillRect(i % 60, 0, 30, 70);
        const pixels = context.getImageData(0, 0, 90, 70);
        const captions = await Promise.all([model.caption(pixels), one.caption(pixels)]);
        if (captions[0].logProbability !== captions[1].logProbability || captions[0].text !== captions[1].text) wrong += 1;
      }
      one.dispose();
      return wrong;
    }, MODEL_URL);
    assert.equal(wrong, 0);
  });

  test('a photo of 20 million pixels, read in strips, is the same picture', async () => {
    const same = await page.evaluate(async () => {
      const canvas = new OffscreenCanvas(5000, 4000);
      const context = canvas.getContext('2d');
      const small = await createImageBitmap(await (await fetch('/web/demo/public/samples/cat.jpg')).blob());
      context.drawImage(small, 0, 0, 5000, 4000);
      const pixels = context.getImageData(0, 0, 5000, 4000);
      return (await model.caption(canvas)).tokens.join() === (await model.caption(pixels)).tokens.join();
    });
    assert.ok(same);
  });

  test('the page goes on while captions are computed: many of its tasks run during one', async () => {
    const [worker, here] = await page.evaluate(async (address) => {
      const pixels = { data: new Uint8Array(90 * 90 * 3).fill(50), width: 90, height: 90 };
      const tasks = async (model) => {
        let most = 0;
        for (let i = 0; i < 5; i += 1) {
          const { port1, port2 } = new MessageChannel();
          let count = 0;
          port1.onmessage = () => port2.postMessage((count += 1));
          port2.postMessage(0);
          await model.caption(pixels, { prompt: `a ${i}` });
          port1.close();
          most = Math.max(most, count);
        }
        return most;
      };
      const other = await bitmar.BitMar.load(address, { worker: false });
      const counts = [await tasks(model), await tasks(other)];
      other.dispose();
      return counts;
    }, MODEL_URL);
    assert.ok(worker > 100 && worker > 4 * here, `${worker} tasks; computed in the page itself ${here}`);
  });

  test('abort, queue and dispose', async () => {
    const codes = await page.evaluate(async (address) => {
      const other = await bitmar.BitMar.load(address);
      const blob = await (await fetch('/web/demo/public/samples/cat.jpg')).blob();
      const controller = new AbortController();
      let pieces = 0;
      const stopped = other.caption(blob, { signal: controller.signal, onToken: () => (pieces += 1, controller.abort()) });
      const next = other.caption(blob);
      const codes = [await codeOf(stopped), pieces, await codeOf(next)];
      const pending = [codeOf(other.caption(blob)), codeOf(other.caption(blob))];
      other.dispose();
      return [...codes, ...(await Promise.all(pending)), await codeOf(other.caption(blob))];
    }, MODEL_URL);
    assert.deepEqual(codes, ['aborted', 1, 'none', 'disposed', 'disposed', 'disposed']);
  });

  test('errors have codes', async () => {
    const codes = await page.evaluate(async () => {
      const load = bitmar.BitMar.load;
      const controller = new AbortController();
      return {
        noModel: await codeOf(load('/nowhere/')),
        noWasm: await codeOf(load('/tests/golden/tiny', { wasmUrl: '/nowhere.wasm' })),
        noWorker: await codeOf(load('/tests/golden/tiny', { workerUrl: '/nowhere.js' })),
        notWasm: await codeOf(load('/tests/golden/tiny', { wasmUrl: '/package.json' })),
        noServer: await codeOf(load('http://localhost:1/')),
        aborted: await codeOf(load('/tests/golden/tiny', { signal: controller.signal, onProgress: () => controller.abort() })),
        text: await codeOf(model.caption(new Blob(['hello']))),
        empty: await codeOf(model.caption(new Blob([]))),
        tiff: await codeOf(model.caption(await (await fetch('/tests/golden/images/photo.tiff')).blob())),
        taught: await codeOf(model.memory.teach(new Blob(['hello']), 'greeting')),
        nothing: await codeOf(model.caption(null)),
        object: await codeOf(model.caption({})),
        emptyVideo: await codeOf(model.caption(document.createElement('video'))),
        emptyCanvas: await codeOf(model.caption(new OffscreenCanvas(0, 0))),
        brokenImage: await codeOf(model.caption(Object.assign(new Image(), { src: '/nowhere.jpg' }))),
      };
    });
    wrong.length = 0; // the browser's own remarks about the above
    const { emptyCanvas, ...rest } = codes;
    assert.match(emptyCanvas, /^(invalid_image|invalid_argument)$/);
    assert.deepEqual(rest, {
      noModel: 'missing_file',
      noWasm: 'missing_file',
      noWorker: 'worker_failed',
      notWasm: 'missing_file',
      noServer: 'network',
      aborted: 'aborted',
      text: 'invalid_image',
      empty: 'invalid_image',
      tiff: 'unsupported_image',
      taught: 'invalid_image',
      nothing: 'invalid_argument',
      object: 'invalid_argument',
      emptyVideo: 'invalid_image',
      brokenImage: 'invalid_image',
    });
  });

  test('nothing was complained about', () => assert.deepEqual(wrong, []));
});

/** What a page of that host loads by itself, and says of a grey picture. */
async function loadedFrom(url) {
  const browser = await launch();
  const page = await browser.page();
  await page.goto(`${url}tests/browser/blank.html`);
  const result = await page.evaluate(async (address) => {
    const { BitMar } = await import('bitmar');
    const model = await BitMar.load(address);
    const { text, tokens } = await model.caption({ data: new Uint8Array(30 * 30 * 3).fill(127), width: 30, height: 30 });
    const refused = await BitMar.load(address, { build: 'relaxed-threads' }).then(() => 'none', (error) => error.code);
    model.dispose();
    return { isolated: crossOriginIsolated, cores: navigator.hardwareConcurrency, info: `${model.info.build} ${model.info.threads}`, caption: { text, tokens }, refused };
  }, MODEL_URL);
  await browser.close();
  assert.deepEqual(result.caption, await nodeCaption({ base64: Buffer.alloc(30 * 30 * 3, 127).toString('base64'), width: 30, height: 30 }));
  return result;
}

test('a page that is not cross-origin isolated: one thread, by itself', async () => {
  const plain = await host(server.url, '/', {});
  const { isolated, info, refused } = await loadedFrom(plain.url);
  await plain.close();
  assert.deepEqual({ isolated, info, refused }, { isolated: false, info: 'relaxed 1', refused: 'unsupported_platform' });
});

test('threads that do not start: one thread, by itself; an error where they were asked for', async (t) => {
  const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
  let workers = 0;
  // The first is the engine's own; then its other thread; then, without it, the engine's own again. And so for the second call.
  const refuse = (path) => /\/worker(-threads)?\.js$/.test(path) && [2, 5].includes((workers += 1));
  const broken = await host(server.url, '/', headers, refuse);
  const { isolated, cores, info, refused } = await loadedFrom(broken.url);
  await broken.close();
  if (cores < 2) return t.skip('one core');
  assert.deepEqual({ isolated, info, refused, workers }, { isolated: true, info: 'relaxed 1', refused: 'worker_failed', workers: 5 });
});

/** The package as it is, but that its second thread is lost. */
function losingThreads(at) {
  const worker = 'web/bitmar/dist/worker-threads.js';
  const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
  return host((name) => new URL(name === worker ? `tests/browser/dying-thread-${at}.js` : name, server.url), '/', headers);
}

/** On a page: what becomes of a model whose second thread is lost, and of one that is loaded after it. */
async function loseThread(browser, at) {
  const site = await losingThreads(at);
  const page = await browser.page();
  await page.goto(`${site.url}tests/browser/blank.html`);
  const result = await page.evaluate(
    async (address) => {
      const { BitMar } = await import('bitmar');
      const codeOf = (promise) => promise.then(() => 'none', (error) => error.code);
      const picture = (seed) => ({ data: Uint8Array.from({ length: 90 * 90 * 3 }, (_, i) => i * seed), width: 90, height: 90 });
      const model = await BitMar.load(address);
      const asked = await codeOf(BitMar.load(address, { build: 'relaxed-threads' }));
      let code = 'none';
      // Not every picture is shared with the other thread: where that was slower, it is left alone for a while.
      for (let i = 1; i < 100 && code === 'none'; i += 1) code = await codeOf(model.caption(picture(i), { maxTokens: 1 }));
      const next = await BitMar.load(address, { threads: 1 });
      return { threads: model.info.threads, asked, code, next: await codeOf(next.caption(picture(1))), possible: navigator.hardwareConcurrency };
    },
    MODEL_URL,
  );
  await site.close();
  return result;
}

test('a thread that is lost: at its start, one does it all; in the middle of its work, an error, and another model works', async (t) => {
  const browser = await launch();
  const { possible, ...start } = await loseThread(browser, 'start');
  if (possible < 2) return t.skip('one core');
  assert.deepEqual(start, { threads: 1, asked: 'worker_failed', code: 'none', next: 'none' });
  const { possible: _, ...work } = await loseThread(browser, 'work');
  assert.deepEqual(work, { threads: 2, asked: 'none', code: 'worker_failed', next: 'none' });
  await browser.close();
});

test('a browser that is too old: an error that says what is missing, and which browsers have it', async () => {
  const browser = await launch();
  const page = await browser.page();
  await page.goto(`${server.url}tests/browser/blank.html`);
  const messages = await page.evaluate(async (address) => {
    const { BitMar } = await import('bitmar');
    const { validate } = WebAssembly;
    const without = async (opcode) => {
      WebAssembly.validate = (bytes) => !bytes.some((byte, i) => byte === opcode[0] && bytes[i + 1] === opcode[1]) && validate(bytes);
      return BitMar.load(address).then(() => 'none', (error) => `${error.code}: ${error.message}`);
    };
    return [await without([253, 15]), await without([6, 64])]; // i8x16.splat; try
  }, MODEL_URL);
  await browser.close();
  const readme = await readFile(path('web/bitmar/README.md'), 'utf8');
  for (const [i, missing] of ['SIMD', 'exceptions'].entries()) {
    const [, lowest] = new RegExp(`^unsupported_platform: BitMar needs WebAssembly ${missing}, .* It runs in (.*), and later ones$`).exec(messages[i]);
    assert.ok(readme.includes(lowest), lowest);
  }
});

test('a worker that never answers, because it is no worker of ours: an error', async () => {
  const browser = await launch();
  const page = await browser.page();
  await page.goto(`${server.url}tests/browser/blank.html`);
  const result = await page.evaluate(async (address) => {
    const { BitMar } = await import('bitmar');
    return BitMar.load(address, { workerUrl: '/tests/browser/silent-worker.js' }).then(() => 'none', (error) => error.code);
  }, MODEL_URL);
  await browser.close();
  assert.equal(result, 'worker_failed');
});

test('a webcam: captions change with the picture and equal node’s', async (t) => {
  const photos = await samplePhotos();
  let browser = await launch();
  const file = await film((await packagePage(browser)).page, photos, 1);
  await browser.close();

  browser = await launch(...webcam(file));
  const { page, wrong } = await packagePage(browser);
  const wanted = Math.min(4, photos.length / 2);
  const seen = await page.evaluate(async ([least, different]) => {
    const video = Object.assign(document.createElement('video'), { muted: true });
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    await video.play();
    document.body.append(video);
    const seen = [];
    let open = 0;
    let most = 0;
    const watch = model.watch(video, {
      interval: 400,
      onFrame: () => (most = Math.max(most, ++open)),
      onCaption: ({ text, tokens }, frame) => {
        open -= 1;
        seen.push({ text, tokens, frame: plain(frame) });
      },
      onError: (error) => seen.push({ text: `${error}` }),
    });
    const enough = () => seen.length >= least && new Set(seen.map(({ text }) => text)).size >= different;
    for (let i = 0; i < 600 && !enough(); i += 1) await new Promise((resolve) => setTimeout(resolve, 100));
    watch.stop();
    const count = seen.length;
    await new Promise((resolve) => setTimeout(resolve, 600));
    if (seen.length > count) throw new Error('it went on after stop()');
    if (most > 1) throw new Error('frames were queued');
    // And without reading the pixels here: the path that the page takes.
    const quick = await new Promise((resolve) => {
      const other = model.watch(video, { onCaption: ({ text }, frame) => (other.stop(), resolve({ text, frame: frame === undefined })) });
    });
    for (const track of video.srcObject.getTracks()) track.stop();
    return { seen, quick };
  }, [photos.length, wanted]);
  assert.ok(seen.seen.length >= photos.length, `${seen.seen.length} captions`);
  for (const { text, tokens, frame } of seen.seen) assert.deepEqual({ text, tokens }, await nodeCaption(frame));
  assert.ok(new Set(seen.seen.map(({ text }) => text)).size >= wanted, seen.seen.map(({ text }) => text).join('\n'));
  assert.ok(seen.quick.text && seen.quick.frame);
  assert.deepEqual(wrong, []);
  t.diagnostic(`${seen.seen.length} captions of live frames`);
  await browser.close();
});
