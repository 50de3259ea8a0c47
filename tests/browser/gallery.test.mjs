// Several photos, and what can be done with a caption and its picture.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { picture, png } from '../node/helpers.mjs';
import { complaints, disposeNodeModel, launch, nodeModel, path, serve, shownPixels } from './helpers.mjs';

const AS_THE_PAGE = { numBeams: 8 };
let server, browser;
before(async () => {
  server = await serve({ root: path('web/demo/dist') });
  browser = await launch();
  await browser.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url.slice(0, -1) });
});
after(async () => {
  await browser.close();
  await server.close();
  disposeNodeModel();
});

async function open(prepare) {
  const page = await browser.page();
  const wrong = complaints(page, new URL(server.url).origin);
  if (prepare) await page.addInitScript(prepare);
  await page.goto(server.url);
  await captioned(page);
  await page.locator('#remember').uncheck(); // or later captions would read the memory of the first ones
  return { page, wrong };
}

const captioned = (page) => page.waitForFunction(() => document.querySelector('#caption:not(.stale)')?.textContent, undefined, { timeout: 20_000 });
const said = async (page) => (await page.textContent('#caption')).trim();
const done = (page, text) => page.waitForFunction((text) => document.querySelector('#did').textContent === text, text, { timeout: 20_000 });
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

const PICTURES = [picture(90, 60, 2), picture(64, 80, 5), picture(120, 90, 9)];
const file = (image, i) => ({ name: `${i}.png`, mimeType: 'image/png', buffer: png(image) });
const BAD = { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') };
const expected = async () => Promise.all(PICTURES.map(async (image) => (await (await nodeModel()).caption(image, AS_THE_PAGE)).text));

const cards = (page) => page.$$eval('#gallery-photos li span', (spans) => spans.map(({ textContent }) => textContent));
const complete = (page, count) =>
  page.waitForFunction((count) => [...document.querySelectorAll('#gallery-photos li')].filter((card) => card.querySelector('img').src && card.textContent.length > 1).length === count, count, { timeout: 30_000 });
const pressed = (page) => page.$$eval('#gallery-photos button', (buttons) => buttons.flatMap((button, i) => (button.getAttribute('aria-pressed') === 'true' ? [i] : [])));

describe('several photos', () => {
  test('each has its caption, and can be looked at', async () => {
    const { page, wrong } = await open();
    const texts = await expected();
    await page.setInputFiles('#file', PICTURES.map(file));
    await complete(page, 3);
    assert.deepEqual(await cards(page), texts);
    assert.deepEqual(await pressed(page), [0]);
    await captioned(page);
    assert.equal(await said(page), texts[0]);
    for (const i of [2, 1]) {
      await page.locator('#gallery-photos button').nth(i).click();
      await captioned(page);
      assert.equal(await said(page), texts[i]);
      assert.deepEqual(await pressed(page), [i]);
      const { width, height } = await shownPixels(page);
      assert.deepEqual([width, height], [PICTURES[i].width, PICTURES[i].height]);
    }
    await page.click('#gallery-copy');
    await done(page, 'Copied');
    assert.equal(await clipboard(page), texts.join('\n'));

    await page.locator('.samples button').nth(1).click();
    assert.deepEqual(await pressed(page), []);
    await page.locator('#gallery-photos button').nth(1).click();
    await page.click('#gallery-clear');
    assert.equal(await page.isVisible('#gallery'), false);
    assert.equal(await page.locator('#gallery-photos li').count(), 0);
    assert.equal(await page.getAttribute('.samples li:first-child button', 'aria-pressed'), 'true', 'none of them is left on the stage');
    await captioned(page);
    assert.deepEqual(wrong, []);
    await page.close();
  });

  test('one alone needs no gallery; dropped and pasted ones join it', async () => {
    const { page, wrong } = await open();
    await page.setInputFiles('#file', file(PICTURES[0], 0));
    await page.waitForSelector('#gallery-photos li', { state: 'attached' });
    assert.equal(await page.isVisible('#gallery'), false);
    await page.evaluate((files) => {
      const transfer = () => {
        const dataTransfer = new DataTransfer();
        for (const base64 of files) dataTransfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], 'photo.png', { type: 'image/png' }));
        return dataTransfer;
      };
      document.querySelector('#stage').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer(), bubbles: true, cancelable: true }));
      document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer() }));
    }, [file(PICTURES[1], 1), file(PICTURES[2], 2)].map(({ buffer }) => buffer.toString('base64')));
    await complete(page, 5);
    assert.equal(await page.isVisible('#gallery'), true);
    assert.deepEqual(await pressed(page), [3]);
    assert.deepEqual(wrong, []);
    await page.close();
  });

  for (const [where, names, shown] of [['among them', [0, 'bad', 1], 0], ['before them', ['bad', 0, 1], -1]]) {
    test(`a file ${where} that is no picture is named and left out`, async () => {
      const { page } = await open();
      await page.setInputFiles('#file', names.map((name) => (name === 'bad' ? BAD : file(PICTURES[name], name))));
      await page.waitForFunction(() => /“notes\.jpg” is no picture/.test(document.querySelector('#notice:not([hidden])')?.textContent), undefined, { timeout: 20_000 });
      await complete(page, 2);
      assert.deepEqual(await cards(page), (await expected()).slice(0, 2));
      assert.deepEqual(await pressed(page), shown < 0 ? [] : [shown]);
      assert.equal(await page.isVisible('#nothing'), shown < 0);
      await page.locator('#gallery-photos button').nth(1).click();
      await captioned(page);
      assert.equal(await page.isVisible('#nothing'), false);
      await page.close();
    });
  }

  test('a model that stops on the way: the rest follows when it is there again', async () => {
    const { page } = await open();
    await page.setInputFiles('#file', [...PICTURES, ...PICTURES].map(file));
    await page.workers()[0].evaluate('self.close()').catch(() => {});
    await complete(page, 6);
    const texts = await expected();
    assert.deepEqual(await cards(page), [...texts, ...texts]);
    await captioned(page);
    assert.equal(await said(page), texts[0]);
    assert.equal(await page.isHidden('#notice'), true);
    await page.close();
  });

  test('a strip that is scrolled, within the width of a phone', async () => {
    const { page } = await open();
    await page.setViewportSize({ width: 390, height: 844 });
    await page.setInputFiles('#file', [...PICTURES, ...PICTURES, ...PICTURES].map(file));
    await complete(page, 9);
    for (const width of [390, 320]) {
      await page.setViewportSize({ width, height: 844 });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    }
    for (const button of await page.locator('#gallery button, .stage button:visible').all()) {
      const box = await button.boundingBox();
      assert.ok(box.height >= 44 && box.width >= 44, JSON.stringify(box));
    }
    await page.close();
  });
});

describe('a caption', () => {
  test('is copied', async () => {
    const { page } = await open();
    await page.click('#copy');
    await done(page, 'Copied');
    assert.equal(await clipboard(page), await said(page));
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined })); // as on pages without https
    await page.click('#copy');
    await done(page, 'The browser did not allow copying.');
    await page.close();
  });

  test('is shared with its picture, where the browser can share', async () => {
    const { page: plain } = await open(() => Object.defineProperty(navigator, 'share', { value: undefined }));
    assert.equal(await plain.isVisible('#share'), false);
    await plain.close();

    const { page } = await open(() => {
      globalThis.shared = [];
      navigator.canShare = ({ files }) => globalThis.noFiles !== true || !files;
      navigator.share = async (data) => {
        if (globalThis.refuse) throw new DOMException('no', globalThis.refuse);
        shared.push(data);
      };
    });
    await page.click('#share');
    await page.waitForFunction(() => shared.length === 1);
    const [text, size] = await page.evaluate(async () => {
      const { width, height } = await createImageBitmap(shared[0].files[0]);
      return [shared[0].text, [width, height]];
    });
    assert.equal(text, await said(page));
    const { width, height } = await shownPixels(page);
    assert.deepEqual(size, [width, height]);

    await page.evaluate(() => (globalThis.noFiles = true));
    await page.click('#share');
    await page.waitForFunction(() => shared.length === 2);
    assert.equal(await page.evaluate(() => 'files' in shared[1]), false);

    await page.evaluate(() => (globalThis.refuse = 'AbortError'));
    await page.click('#share');
    await page.waitForTimeout(300);
    assert.equal(await page.textContent('#did'), '');
    await page.evaluate(() => (globalThis.refuse = 'NotAllowedError'));
    await page.click('#share');
    await done(page, 'Sharing did not work here.');
    await page.close();
  });

  test('is read aloud by a voice of this device, and so is the next one', async () => {
    const { page } = await open(() => {
      globalThis.SpeechSynthesisUtterance = class extends EventTarget {
        constructor(text) {
          super();
          this.text = text;
        }
      };
      const speech = Object.assign(new EventTarget(), {
        voices: [{ name: 'far', lang: 'en-US', localService: false }, { name: 'near', lang: 'de-DE', localService: true }],
        getVoices: () => speech.voices,
        speaking: false,
        heard: [],
        speak(utterance) {
          speech.heard.push(`${utterance.voice.name}: ${utterance.text}`);
          speech.current = utterance;
          speech.speaking = true;
        },
        end() {
          speech.speaking = false;
          speech.current?.dispatchEvent(new Event('end'));
        },
        cancel: () => speech.end(),
      });
      Object.defineProperty(globalThis, 'speechSynthesis', { value: speech });
    });
    assert.equal(await page.isVisible('#speak'), false, 'voices from elsewhere would be told the caption');
    await page.evaluate(() => {
      speechSynthesis.voices.push({ name: 'here', lang: 'en-GB', localService: true });
      speechSynthesis.dispatchEvent(new Event('voiceschanged'));
    });
    const heard = () => page.evaluate(() => speechSynthesis.heard);
    const first = await page.textContent('#announce');
    await page.click('#speak');
    assert.deepEqual(await heard(), [`here: ${first}`]);
    await page.locator('.samples button').nth(1).click();
    await page.waitForFunction((first) => document.querySelector('#announce').textContent !== first, first);
    const next = await page.textContent('#announce');
    assert.deepEqual(await heard(), [`here: ${first}`], 'not two at a time');
    await page.evaluate(() => speechSynthesis.end());
    assert.deepEqual(await heard(), [`here: ${first}`, `here: ${next}`]);
    await page.evaluate(() => speechSynthesis.end());
    assert.equal((await heard()).length, 2, 'and none twice');
    await page.click('#speak');
    assert.equal(await page.getAttribute('#speak', 'aria-pressed'), 'false');
    await page.locator('.samples button').nth(2).click();
    await page.waitForFunction((next) => document.querySelector('#announce').textContent !== next, next);
    assert.equal((await heard()).length, 2);
    await page.close();
  });
});

describe('the picture', () => {
  test('is saved as a file', async () => {
    const { page } = await open();
    await page.click('#more-controls summary');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save-picture')]);
    assert.match(download.suggestedFilename(), /^bitmar-\d{4}-\d\d-\d\d\.jpg$/);
    const bytes = await readFile(await download.path());
    const size = await page.evaluate(async (base64) => {
      const { width, height } = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));
      return [width, height];
    }, bytes.toString('base64'));
    const { width, height } = await shownPixels(page);
    assert.deepEqual(size, [width, height]);
    await page.close();
  });

  test('takes the whole screen, until something is said beside it', async () => {
    const { page } = await open();
    await page.click('#full-screen');
    // The button follows the event, which comes after.
    await page.waitForFunction(() => document.fullscreenElement?.id === 'stage' && document.querySelector('#full-screen').getAttribute('aria-pressed') === 'true');
    assert.equal(await page.isVisible('#caption'), true);
    await page.click('#full-screen');
    await page.waitForFunction(() => !document.fullscreenElement && document.querySelector('#full-screen').getAttribute('aria-pressed') === 'false');
    await page.click('#full-screen');
    await page.waitForFunction(() => document.fullscreenElement);
    await page.setInputFiles('#file', BAD);
    await page.waitForFunction(() => !document.fullscreenElement);
    await page.close();
  });
});

test('icons for home screens, of the sizes that are said', async () => {
  const manifest = await (await fetch(new URL('manifest.webmanifest', server.url))).json();
  const html = await (await fetch(server.url)).text();
  const apple = /rel="apple-touch-icon" href="([^"]+)"/.exec(html)[1];
  const icons = manifest.icons.filter(({ type }) => type === 'image/png').map(({ src, sizes }) => [src, sizes]);
  assert.deepEqual(new Set(icons.map(([, sizes]) => sizes)), new Set(['192x192', '512x512']));
  assert.ok(manifest.icons.some(({ purpose }) => purpose === 'maskable'));
  for (const [src, sizes] of [...icons, [apple, '180x180']]) {
    const response = await fetch(new URL(src, server.url));
    assert.equal(response.headers.get('content-type'), 'image/png', src);
    const bytes = Buffer.from(await response.arrayBuffer());
    assert.equal(`${bytes.readUInt32BE(16)}x${bytes.readUInt32BE(20)}`, sizes, src);
    assert.ok(bytes.length < 30_000, `${src}: ${bytes.length} bytes`);
  }
});
