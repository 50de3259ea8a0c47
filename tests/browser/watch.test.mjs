// What watch() and captions() say of a video: waiting, running, paused, hidden, muted, ended; and files as pictures that only pages draw.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { host, launch, path, serve } from './helpers.mjs';

let server, browser, page;
before(async () => {
  server = await serve({ root: path('') });
  browser = await launch();
  page = await browser.page();
  await page.goto(`${server.url}tests/browser/plain.html`);
  await page.evaluate(async () => {
    const { BitMar } = await import('/web/bitmar/dist/index.js');
    globalThis.model = await BitMar.load('/tests/golden/tiny/');
    globalThis.few = { maxTokens: 2 };
    globalThis.codeOf = (promise) => promise.then(() => 'none', (error) => error.code ?? `${error}`);
    /** A video of a canvas that is drawn anew all the time, in the colours that are given, round and round. */
    globalThis.filmed = async (...colours) => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 48 });
      const context = canvas.getContext('2d');
      let drawn = 0;
      const draw = () => {
        context.fillStyle = colours[Math.floor(drawn / 10) % colours.length];
        context.fillRect(0, 0, 64, 48);
        context.fillStyle = '#123456';
        context.fillRect(drawn % 2, 0, 1, 1); // every frame is another one
        drawn += 1;
      };
      draw();
      const timer = setInterval(draw, 30);
      const stream = canvas.captureStream();
      const video = document.body.appendChild(Object.assign(document.createElement('video'), { muted: true, srcObject: stream }));
      await video.play();
      return { video, track: stream.getVideoTracks()[0], end: () => (clearInterval(timer), video.remove()) };
    };
    /** Resolves when it holds. */
    globalThis.until = async (holds) => {
      for (let i = 0; !holds(); i += 1) {
        if (i > 1000) throw new Error(`never: ${holds}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
  });
});
after(async () => {
  await browser.close();
  await server.close();
});

describe('watch', () => {
  test('pause, resume, a video that is paused, a camera that ends, stop: each is told once', async () => {
    const { states, state, afterwards } = await page.evaluate(async () => {
      const { video, track, end } = await filmed('red', 'blue');
      const states = [];
      let captions = 0;
      const watch = model.watch(video, { ...few, onCaption: () => (captions += 1), onState: (state) => states.push(state) });
      await until(() => captions > 2);
      watch.pause();
      await new Promise((resolve) => setTimeout(resolve, 300)); // the last one
      const before = captions;
      await new Promise((resolve) => setTimeout(resolve, 300));
      if (captions !== before) throw new Error('it went on while it was paused');
      watch.resume();
      await until(() => captions > before + 1);
      video.pause();
      await until(() => watch.state === 'paused');
      await video.play();
      await until(() => watch.state === 'running');
      track.stop();
      await until(() => watch.state === 'ended');
      const { video: other, end: endOther } = await filmed('green');
      video.srcObject = other.srcObject; // another camera
      await video.play();
      const then = captions;
      await until(() => captions > then);
      watch.stop();
      const afterwards = captions;
      await new Promise((resolve) => setTimeout(resolve, 300));
      if (captions > afterwards) throw new Error('it went on after stop()');
      watch.stop();
      end();
      endOther();
      return { states, state: watch.state, afterwards };
    });
    assert.ok(afterwards);
    assert.equal(state, 'stopped');
    const told = states.filter((each) => each !== 'waiting'); // of a camera that begins, more or less often
    assert.deepEqual(told, ['running', 'paused', 'running', 'paused', 'running', 'ended', ...(told.at(6) === 'paused' ? ['paused'] : []), 'running', 'stopped'], states.join());
  });

  test('a camera that sends nothing for the moment, and a page that is hidden', async () => {
    const states = await page.evaluate(async () => {
      const { video, track, end } = await filmed('red');
      const states = [];
      const watch = model.watch(video, { ...few, onCaption() {}, onState: (state) => states.push(state) });
      await until(() => watch.state === 'running');
      const mute = (muted) => {
        Object.defineProperty(track, 'muted', { value: muted, configurable: true });
        track.dispatchEvent(new Event(muted ? 'mute' : 'unmute'));
      };
      mute(true);
      mute(false);
      const hide = (hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      };
      hide(true);
      hide(false);
      delete document.hidden;
      watch[Symbol.dispose]?.();
      watch.stop();
      end();
      return states.filter((each) => each !== 'waiting');
    });
    assert.deepEqual(states, ['running', 'muted', 'running', 'hidden', 'running', 'stopped']);
  });

  test('onState that throws ends the watch, as every callback', async () => {
    const result = await page.evaluate(async () => {
      const { video, end } = await filmed('red');
      const errors = [];
      const fail = () => {
        throw new Error('of the caller');
      };
      const watch = model.watch(video, { ...few, onCaption() {}, onState: fail, onError: ({ message }) => errors.push(message) });
      await until(() => errors.length);
      end();
      return { errors, state: watch.state, next: (await model.caption(video, few)).tokens.length > 0 };
    });
    assert.deepEqual(result, { errors: ['of the caller'], state: 'stopped', next: true });
  });

  test('minChange leaves out what has not changed', async () => {
    const { still, moving } = await page.evaluate(async () => {
      const count = async (minChange, ...colours) => {
        const { video, end } = await filmed(...colours);
        let captions = 0;
        const watch = model.watch(video, { ...few, minChange, onCaption: () => (captions += 1) });
        await until(() => captions);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        watch.stop();
        end();
        return captions;
      };
      return { still: await count(0.05, 'red'), moving: await count(0.05, 'red', 'lime') };
    });
    assert.equal(still, 1);
    assert.ok(moving > 1, `${moving}`);
  });

  test('wrong arguments', async () => {
    const codes = await page.evaluate(async () => {
      const { video, end } = await filmed('red');
      const codes = [];
      for (const options of [{ minChange: 2 }, { minChange: '0.1' }, { interval: -1 }, { onState: 'log' }, { signal: {} }]) {
        try {
          model.watch(video, { onCaption() {}, ...options }).stop();
          codes.push('none');
        } catch (error) {
          codes.push(error.code);
        }
        codes.push(await codeOf(model.captions(video, options).next()));
      }
      codes.push(await codeOf(model.captions(document.body).next()), await codeOf(model.captions(video, null).next()));
      end();
      return codes;
    });
    assert.deepEqual(new Set(codes), new Set(['invalid_argument']), codes.join());
  });
});

describe('captions', () => {
  test('whenever they are asked for, until the camera ends', async () => {
    const result = await page.evaluate(async () => {
      const { video, track, end } = await filmed('red', 'blue');
      let seen = 0;
      for await (const { tokens } of model.captions(video, few)) {
        if (!tokens.length) throw new Error('an empty caption');
        seen += 1;
        if (seen === 3) track.stop();
      }
      end();
      return seen;
    });
    assert.ok(result >= 3 && result <= 5, `${result}`);
  });

  test('leaving the loop ends it; a signal rejects; interval and onState as in watch', async () => {
    const result = await page.evaluate(async () => {
      const { video, end } = await filmed('red', 'blue');
      const states = [];
      for await (const _ of model.captions(video, { ...few, onState: (state) => states.push(state) })) break;
      const controller = new AbortController();
      const aborted = await codeOf((async () => {
        for await (const _ of model.captions(video, { ...few, signal: controller.signal })) controller.abort();
      })());
      const waiting = model.captions(video, { ...few, signal: AbortSignal.timeout(200), minChange: 1 });
      await waiting.next();
      const timedOut = await codeOf(waiting.next());
      const began = [];
      for await (const _ of model.captions(video, { ...few, interval: 400 })) if (began.push(performance.now()) === 3) break;
      end();
      return { states, aborted, timedOut, took: began[2] - began[0], next: await codeOf(model.caption(video, few)) };
    });
    const { states, took, ...rest } = result;
    assert.deepEqual(rest, { aborted: 'aborted', timedOut: 'aborted', next: 'none' });
    assert.equal(states.at(-1), 'stopped');
    assert.ok(took > 500, `${took} ms`); // never faster: 800 less what the first two captions took
  });
});

describe('files that a page draws or fetches', () => {
  const svg = (body, attributes = 'viewBox="0 0 20 10"') => `<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg" ${attributes}>${body}</svg>`;
  const text = svg('<rect width="10" height="10" fill="#c00"/><circle cx="15" cy="5" r="4" fill="#00c"/>');

  test('SVG: as a Blob of whatever type, as bytes, by its URL; on white, whatever size it has', async () => {
    const sites = await host(server.url, '/', {});
    const same = await page.evaluate(async ({ text, sized }) => {
      const canvas = new OffscreenCanvas(512, 256);
      const context = canvas.getContext('2d');
      const expected = () => model.caption(context.getImageData(0, 0, 512, 256), few).then(({ logProbability }) => logProbability);
      const found = async (source) => (await model.caption(source, few)).logProbability;
      context.fillStyle = '#fff';
      context.fillRect(0, 0, 512, 256);
      const white = await expected();
      const empty = await found(new Blob([text.replace(/<rect.*<\/svg>/s, '</svg>')], { type: 'image/svg+xml' }));
      const blobs = [new Blob([text], { type: 'image/svg+xml' }), new Blob([text]), new TextEncoder().encode(text), new URL(`data:image/svg+xml,${encodeURIComponent(text)}`), new Response(text)];
      const drawn = [];
      for (const blob of blobs) drawn.push(await found(blob));
      return { white, empty, drawn, sized: await found(new Blob([sized])) };
    }, { text, sized: svg('<rect width="10" height="10" fill="#c00"/><circle cx="15" cy="5" r="4" fill="#00c"/>', 'width="20" height="10"') });
    await sites.close();
    assert.equal(same.empty, same.white);
    assert.equal(new Set([...same.drawn, same.sized]).size, 1, JSON.stringify(same));
    assert.notEqual(same.drawn[0], same.white);
  });

  test('what cannot be drawn, in a page and in a worker', async () => {
    const codes = await page.evaluate(async (text) => {
      const inWorker = new Promise((resolve) => {
        const script = `import { BitMar } from '${location.origin}/web/bitmar/dist/index.js';
          const model = await BitMar.load('${location.origin}/tests/golden/tiny/', { worker: false });
          postMessage(await model.caption(new Blob([${JSON.stringify(text)}])).then(() => 'none', ({ code }) => code));`;
        const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })), { type: 'module' });
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => resolve(message);
      });
      return {
        broken: await codeOf(model.caption(new Blob(['<svg xmlns="http://www.w3.org/2000/svg"><rect']))),
        page: await model.caption(new Blob(['<!doctype html>\n<html></html>'])).catch(({ message }) => message),
        worker: await inWorker,
      };
    }, text);
    assert.deepEqual(codes, { broken: 'invalid_image', page: 'The file is a web page, not a picture', worker: 'unsupported_image' });
  });

  test('bytes, a Response and a URL are the caption of the Blob; another site that allows no reading', async () => {
    const foreign = await host(server.url, '/', {});
    const result = await page.evaluate(async (foreign) => {
      const address = new URL('/web/demo/public/samples/cat.jpg', location.href);
      const blob = await (await fetch(address)).blob();
      const text = async (source) => (await model.caption(source)).tokens.join();
      const texts = [await text(blob), await text(address), await text(await fetch(address)), await text(new Uint8Array(await blob.arrayBuffer())), await text(await blob.arrayBuffer()), await text(new URL(URL.createObjectURL(blob)))];
      const opaque = await fetch(`${foreign}web/demo/public/samples/cat.jpg`, { mode: 'no-cors' }).catch(() => undefined);
      return {
        texts: new Set(texts).size,
        foreign: await codeOf(model.caption(new URL(`${foreign}web/demo/public/samples/cat.jpg`))),
        opaque: opaque ? await codeOf(model.caption(opaque)) : 'invalid_image', // an isolated page does not even get that
        missing: await codeOf(model.caption(new URL('/nowhere.jpg', location.href))),
      };
    }, foreign.url);
    await foreign.close();
    assert.deepEqual(result, { texts: 1, foreign: 'network', opaque: 'invalid_image', missing: 'missing_file' });
  });
});
