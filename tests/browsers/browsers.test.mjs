// The package and the page in Firefox ESR and WebKitGTK: npm test -- browsers.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { disposeNodeModel, nodeCaption, path, serve } from '../browser/helpers.mjs';
import { firefox, webkit } from './drivers.mjs';

const SIDE = 96;
const PIXELS = Array.from({ length: SIDE * SIDE * 3 }, (_, i) => ((i % 3) * 80 + Math.floor(i / (3 * SIDE)) * 2 + ((i * i) % 31)) % 256);
const PICTURE = { data: PIXELS, width: SIDE, height: SIDE };

after(disposeNodeModel);

for (const [name, launch] of Object.entries({ 'Firefox ESR': firefox, WebKitGTK: webkit })) {
  describe(name, { timeout: 900_000 }, () => {
    let site, demo, browser, page;
    before(async () => {
      site = await serve({ root: path('') });
      demo = await serve({ root: path('web/demo/dist') });
      browser = await launch();
      page = await browser.page();
    });
    after(async () => {
      await browser?.close();
      await site.close();
      await demo.close();
    });

    const blank = () => page.open(`${site.url}tests/browser/blank.html`);

    for (const build of ['simd', 'relaxed']) {
      test(`captions as node does, token for token: ${build}`, async (t) => {
        const expected = await nodeCaption({ base64: Buffer.from(PIXELS).toString('base64'), width: SIDE, height: SIDE }, { numBeams: 8 });
        await blank();
        const found = await page.run(
          async ({ data, width, height }, build) => {
            const { BitMar } = await import('bitmar');
            const model = await BitMar.load(undefined, { build }).catch((error) => ({ refused: error.code }));
            if (model.refused) return model;
            const { text, tokens } = await model.caption({ data: new Uint8Array(data), width, height }, { numBeams: 8 });
            const { build: used, worker } = model.info;
            await model.dispose();
            return { text, tokens: [...tokens], used, worker };
          },
          PICTURE,
          build,
        );
        if (build === 'relaxed' && found.refused === 'unsupported_platform') return t.skip('this browser has no relaxed SIMD');
        assert.deepEqual({ text: found.text, tokens: found.tokens }, { text: expected.text, tokens: [...expected.tokens] });
        t.diagnostic(`${found.used}, worker ${found.worker}`);
      });
    }

    test('photo files and canvases are captioned', async () => {
      await blank();
      const cat = [...(await readFile(path('web/demo/public/samples/cat.jpg')))];
      const said = await page.run(async (cat) => {
        const { BitMar } = await import('bitmar');
        const model = await BitMar.load();
        const texts = [];
        const blob = new Blob([new Uint8Array(cat)], { type: 'image/jpeg' });
        texts.push((await model.caption(blob, { numBeams: 8 })).text);
        const canvas = document.createElement('canvas');
        canvas.getContext('2d').fillRect(0, 0, 50, 50);
        texts.push((await model.caption(canvas)).text);
        await model.dispose();
        return texts;
      }, cat);
      assert.match(said[0], /cat/);
      assert.ok(said[1]);
    });

    test('a memory is there again', async () => {
      const remember = async ({ data, width, height }) => {
        const { BitMar } = await import('bitmar');
        const model = await BitMar.load();
        const picture = { data: new Uint8Array(data), width, height };
        await model.memory.teach(picture, 'stripes');
        await model.memory.flush();
        const { sequence, savedSequence } = await model.memory.stats();
        await model.dispose();
        return savedSequence > 0 && savedSequence === sequence;
      };
      const recall = async ({ data, width, height }) => {
        const { BitMar } = await import('bitmar');
        const model = await BitMar.load();
        const { recognised } = await model.memory.recall({ image: { data: new Uint8Array(data), width, height } });
        await model.dispose();
        return recognised?.label ?? null;
      };
      await blank();
      assert.equal(await page.run(remember, PICTURE), true);
      if (browser.relaunch) {
        await browser.relaunch();
        page = await browser.page();
        await blank();
      } else {
        await page.reload();
      }
      assert.equal(await page.run(recall, PICTURE), 'stripes');
    });

    test('the page captions a webcam, and turns it off', async (t) => {
      if (!browser.webcam) return t.skip('this browser has no webcam to pretend');
      await page.open(demo.url);
      const seen = await page.run(async () => {
        const until = async (holds) => {
          for (const deadline = Date.now() + 120_000; !holds(); ) {
            if (Date.now() > deadline) throw new Error(`Never: ${holds}; ${document.body.textContent.replace(/\s+/g, ' ').slice(0, 300)}`);
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        };
        const [button, video, caption] = ['#camera', '#video', '#caption'].map((id) => document.querySelector(id));
        await until(() => !button.disabled && document.querySelector('#announce').textContent);
        button.click();
        await until(() => !video.hidden && video.videoWidth > 0 && document.querySelector('#live:not([hidden])')?.dataset.state === 'live');
        const [track] = video.srcObject.getTracks();
        await until(() => caption.textContent.trim() && !/…/.test(caption.textContent));
        const said = caption.textContent.trim();
        button.click();
        await until(() => track.readyState === 'ended' && video.hidden);
        return said;
      });
      assert.match(seen, /\w+ \w+/);
      t.diagnostic(seen);
    });

    test('the page captions a sample, and again offline', async () => {
      const caption = async () => {
        const deadline = Date.now() + 120_000;
        while (Date.now() < deadline) {
          const text = document.querySelector('#caption')?.textContent.trim();
          if (text && !/…|\.\.\./.test(text)) return text;
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        return `nothing: ${document.body.textContent.slice(0, 300)}`;
      };
      await page.open(demo.url);
      const first = await page.run(caption);
      assert.doesNotMatch(first, /^nothing/);
      await page.run(async () => {
        await navigator.serviceWorker.ready;
        const deadline = Date.now() + 60_000;
        while (!navigator.serviceWorker.controller && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 200));
      });
      await demo.close();
      await page.reload();
      assert.equal(await page.run(caption), first);
    });
  });
}
