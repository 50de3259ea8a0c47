// The page, as built, in Chromium.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { picture, png } from '../node/helpers.mjs';
import { complaints, disposeNodeModel, film, host, launch, nodeCaption, nodeModel, path, samplePhotos, SAMPLES, serve, shownPixels, webcam } from './helpers.mjs';

let server;
before(async () => {
  server = await serve({ root: path('web/demo/dist') });
});
after(async () => {
  await server.close();
  disposeNodeModel();
});

/** The page, opened; `ready` waits for its first caption. */
async function open(browser, { url = server.url, ready = true, ...viewport } = {}) {
  const page = await browser.page();
  if (viewport.width) await page.setViewportSize(viewport);
  const wrong = complaints(page, new URL(url).origin);
  await page.goto(url);
  if (ready) await captioned(page);
  return { page, wrong };
}

const AS_THE_PAGE = { numBeams: 8 };
const said = async (page) => (await page.textContent('#announce')).replace(/^Not sure: /, '');
// Captions of neighbouring samples differ, and so do that of the first one and of those that are clicked next (the cat and the raccoon
// are both "a cat"): only a change is noticed.
const captioned = (page, before = '') =>
  page.waitForFunction((old) => document.querySelector('#announce').textContent.replace(/^Not sure: /, '') !== old, before, { timeout: 60_000 });
const shownNotice = (page, pattern) =>
  page.waitForFunction((source) => new RegExp(source).test(document.querySelector('#notice:not([hidden]) #notice-text')?.textContent), pattern.source, { timeout: 60_000 });

describe('the page', () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  test('captions its samples as node does, without a complaint', async () => {
    const { page, wrong } = await open(browser);
    assert.equal(await said(page), (await nodeCaption(await shownPixels(page), AS_THE_PAGE)).text);
    for (let i = SAMPLES.length - 1; i >= 0; i -= 1) {
      const button = page.locator('.samples button').nth(i);
      const before = await said(page);
      await button.click();
      await captioned(page, before);
      assert.equal(await button.getAttribute('aria-pressed'), 'true');
      const { text } = await nodeCaption(await shownPixels(page), AS_THE_PAGE);
      assert.equal(await said(page), text);
      assert.equal((await page.textContent('#caption')).trim(), text);
    }
    for (const id of ['vision-ms', 'text-ms', 'total-ms']) assert.match(await page.textContent(`#${id}`), /^[\d.]+ms$/);
    assert.match(await page.textContent('#model'), /^Model: \d+\.\d MB downloaded, .+ kernels(, 2 threads)?$/);
    assert.deepEqual(wrong, []);
    await page.close();
  });

  test('a chosen and a dropped photo', async () => {
    const { page, wrong } = await open(browser);
    const expected = async (image) => (await (await nodeModel()).caption(image, AS_THE_PAGE)).text;
    await page.locator('#remember').uncheck(); // or the second caption would read the memory of the first
    const [chosen, dropped] = [picture(90, 60, 2), picture(64, 80, 5)];

    let before = await said(page);
    await page.setInputFiles('#file', { name: 'photo.png', mimeType: 'image/png', buffer: png(chosen) });
    if (before !== (await expected(chosen))) await captioned(page, before);
    assert.equal(await said(page), await expected(chosen));

    before = await said(page);
    await page.evaluate((base64) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], 'photo.png', { type: 'image/png' }));
      for (const type of ['dragenter', 'dragover', 'drop']) {
        document.querySelector('#stage').dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
      }
    }, png(dropped).toString('base64'));
    if (before !== (await expected(dropped))) await captioned(page, before);
    assert.equal(await said(page), await expected(dropped));
    assert.equal(await page.locator('#stage.dropping').count(), 0);
    assert.deepEqual(wrong, []);
    await page.close();
  });

  test('a file that is no picture: a message, nothing of the picture before is left, and the page goes on', async () => {
    const { page } = await open(browser);
    await page.fill('#question', 'is it a dog?');
    const asks = await page.isVisible('#ask');
    if (asks) {
      await page.press('#question', 'Enter');
      await page.waitForFunction(() => document.querySelector('#answer').textContent);
    }
    await page.setInputFiles('#file', { name: 'text.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') });
    await shownNotice(page, /“text\.jpg” is no picture/);
    const left = () => page.evaluate(() => [...document.querySelectorAll('#photo[src], #backdrop[src], #gallery:not([hidden]), #recalls:not([hidden]), #caption-tools:not([hidden]), .samples [aria-pressed=true]')].map(({ id, outerHTML }) => id || outerHTML));
    assert.deepEqual(await left(), []);
    for (const id of ['caption', 'announce', 'answer']) assert.equal(await page.textContent(`#${id}`), '', id);
    for (const id of ['vision-ms', 'text-ms', 'total-ms']) assert.equal(await page.textContent(`#${id}`), '–', id);
    assert.equal(await page.isVisible('#nothing'), true);
    assert.equal(await page.isVisible('#photo'), false);
    assert.equal(await page.isDisabled('#save-picture'), true);
    // There is nothing to name or to ask about either.
    await page.fill('#teach-name', 'nothing');
    await page.click('#teach');
    if (asks) await page.press('#question', 'Enter');
    await page.waitForTimeout(300);
    assert.equal(await page.locator('#moments li').count(), 0);
    assert.equal(await page.textContent('#answer'), '');
    await page.locator('.samples button').nth(1).click();
    await captioned(page);
    assert.equal(await page.isHidden('#notice'), true);
    assert.equal(await page.isVisible('#nothing'), false);
    await page.close();
  });

  test('fits a phone, in light and dark', async () => {
    const { page } = await open(browser, { width: 390, height: 844 });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
    for (const button of await page.locator('button:visible').all()) {
      const box = await button.boundingBox();
      assert.ok(box.height >= 44 && box.width >= 44, `${JSON.stringify(box)}`);
    }
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMedia({ colorScheme: 'light' });
    const light = await background();
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.notEqual(await background(), light);
    await page.setViewportSize({ width: 320, height: 568 });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
    // The choices are below the picture, which whoever chooses sees all the same.
    await page.locator('.samples button').nth(2).click();
    await page.waitForFunction(() => document.querySelector('#stage').getBoundingClientRect().top > -1); // by a fraction of a pixel
    await page.close();
  });

  test('is accessible: names, landmarks, live caption, keyboard, reduced motion; contrast and more: accessibility.test.mjs', async () => {
    const { page } = await open(browser);
    const problems = await page.evaluate(() => {
      const problems = [];
      const name = (element) => element.getAttribute('aria-label') || element.textContent.trim() || element.labels?.[0]?.textContent.trim() || element.querySelector('img')?.alt;
      for (const image of document.images) if (!image.hasAttribute('alt')) problems.push(`no alt: ${image.outerHTML}`);
      for (const button of document.querySelectorAll('button, input, video, progress')) if (!name(button)) problems.push(`no name: ${button.outerHTML}`);
      const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
      if (new Set(ids).size !== ids.length) problems.push('an id twice');
      for (const selector of ['html[lang]', 'title', 'h1', 'header', 'main', 'footer', '[role=status][aria-live=polite]', '[role=alert]', 'meta[name=viewport]']) {
        if (document.querySelectorAll(selector).length !== 1) problems.push(`${selector} is not there once`);
      }
      for (const element of document.querySelectorAll('[aria-labelledby]')) {
        if (!document.getElementById(element.getAttribute('aria-labelledby'))) problems.push('a label that is not there');
      }
      return problems;
    });
    assert.deepEqual(problems, []);

    await page.emulateMedia({ reducedMotion: 'reduce' });
    const reached = [];
    await page.evaluate(() => document.activeElement.blur());
    const tab = async () => {
      await page.keyboard.press('Tab');
      return page.evaluate(() => document.activeElement.id || document.activeElement.closest('[id]').id);
    };
    // What is on the stage, then the box for questions, where the model answers some: ask.test.mjs.
    for (const id of ['copy', 'full-screen']) assert.equal(await tab(), id);
    const asks = await page.locator('.ask:not([hidden]) :is(input, button)').count();
    for (let i = 0; i < asks; i += 1) await tab();
    for (let i = 0; i < 12; i += 1) reached.push(await tab());
    assert.deepEqual(reached, ['camera', 'choose', 'more-controls', 'remember', 'teach-name', 'teach', ...SAMPLES.map(() => 'samples')]);
    await page.locator('#more-controls summary').focus();
    await page.keyboard.press('Enter');
    assert.deepEqual([await tab(), await tab(), await tab()], ['screen', 'save-picture', 'remember']);
    await page.locator('.samples button').nth(2).focus();
    const before = await said(page);
    await page.keyboard.press('Enter');
    await captioned(page, before);

    const moving = await page.evaluate(() => getComputedStyle(document.querySelector('#caption span')).animationName);
    assert.equal(moving, 'none');
    await page.close();
  });

  test('no camera: says so, and photos go on', async () => {
    const { page } = await open(browser);
    await page.click('#camera');
    await shownNotice(page, /No camera was found/);
    assert.equal(await page.getAttribute('#camera', 'aria-pressed'), 'false');
    const before = await said(page);
    await page.locator('.samples button').nth(2).click();
    await captioned(page, before);
    await page.close();
  });

  test('no SIMD: says so', async () => {
    const page = await browser.page();
    await page.addInitScript(() => (WebAssembly.validate = () => false));
    const wrong = complaints(page, server.url);
    await page.goto(server.url);
    await shownNotice(page, /lacks WebAssembly SIMD/);
    assert.equal(await page.isDisabled('#camera'), true);
    assert.deepEqual(wrong, []);
    await page.close();
  });
});

test('a model that does not come: says so, and can be tried again', async () => {
  const browser = await launch();
  const page = await browser.page();
  await page.route('**/model/**/tokenizer.json', (route) => route.fulfill({ status: 404 }));
  await page.goto(server.url);
  await shownNotice(page, /could not be loaded.*404/);
  await page.unroute('**/model/**/tokenizer.json');
  await page.click('#retry');
  await captioned(page);
  assert.equal(await page.isHidden('#notice'), true);
  await browser.close();
});

test('a host with a strict CSP header, in a folder, without COOP and COEP', async () => {
  const csp = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob: mediastream:; connect-src 'self'; manifest-src 'self'";
  const plain = await host(server.url, '/some/folder/', { 'content-security-policy': csp });
  const browser = await launch();
  const { page, wrong } = await open(browser, { url: plain.url });
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  assert.equal(await said(page), (await nodeCaption(await shownPixels(page), AS_THE_PAGE)).text);
  await page.setInputFiles('#file', { name: 'photo.png', mimeType: 'image/png', buffer: png(picture(90, 60, 2)) });
  await captioned(page, '…');
  assert.deepEqual(wrong, []);
  await browser.close();
  await plain.close();
});

test('headers: the policy of the page, and that nobody frames it', async () => {
  const { headers } = await fetch(server.url);
  const meta = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(await readFile(path('web/demo/index.html'), 'utf8'))[1];
  assert.equal(headers.get('content-security-policy'), `${meta}; frame-ancestors 'none'`);
  for (const name of ['x-frame-options', 'x-content-type-options', 'referrer-policy', 'permissions-policy', 'cross-origin-opener-policy', 'cross-origin-embedder-policy']) {
    assert.ok(headers.get(name), name);
  }
  assert.equal((await fetch(`${server.url}_headers`)).status, 404);
  const etag = headers.get('etag');
  assert.equal((await fetch(server.url, { headers: { 'if-none-match': etag } })).status, 304);

  const browser = await launch();
  const page = await browser.page();
  for (const [address, shown] of [[server.url, /^chrome-error:/], [`${server.url}icon.svg?`, /^chrome-error:/], ['data:text/plain,framed', /^data:/]]) {
    await page.goto(`data:text/html,<iframe src="${address}"></iframe>`);
    assert.match(page.frames()[1].url(), shown, address);
  }
  await browser.close();
});

test('offline after one visit', async () => {
  const own = await serve({ root: path('web/demo/dist') });
  const browser = await launch();
  const { page } = await open(browser, { url: own.url });
  const first = await said(page);
  await page.evaluate(() => navigator.serviceWorker.ready.then(({ active }) => active.state === 'activated' || new Promise((resolve) => active.addEventListener('statechange', resolve))));
  await own.close();
  await page.reload();
  await captioned(page);
  assert.equal(await said(page), first);
  await page.locator('.samples button').nth(4).click();
  await captioned(page, first);
  await browser.close();
});

test('a camera that is denied: says so, and photos go on', async () => {
  const browser = await launch('--use-fake-device-for-media-stream', '--deny-permission-prompts');
  const { page } = await open(browser);
  await page.click('#camera');
  await shownNotice(page, /camera is blocked/);
  const before = await said(page);
  await page.locator('.samples button').nth(2).click();
  await captioned(page, before);
  await browser.close();
});

test('a webcam: live captions that change with the picture', async (t) => {
  let browser = await launch();
  const file = await film((await open(browser, { ready: false })).page, await samplePhotos(), 1.5);
  await browser.close();

  browser = await launch(...webcam(file));
  const { page, wrong } = await open(browser);
  await page.evaluate(() => {
    globalThis.lines = new Set();
    new MutationObserver(() => document.body.classList.contains('is-live') && lines.add(document.querySelector('#caption').textContent)).observe(document.querySelector('#caption'), { childList: true, subtree: true });
  });
  await page.click('#camera');
  await page.waitForFunction(() => lines.size >= 4, undefined, { timeout: 60_000 });
  assert.equal(await page.isVisible('#live'), true);
  assert.equal(await page.getAttribute('#camera', 'aria-pressed'), 'true');
  assert.equal(await page.textContent('#figures-title'), 'Each frame takes');
  t.diagnostic(`vision ${await page.textContent('#vision-ms')}, text ${await page.textContent('#text-ms')}`);

  await page.click('#camera');
  assert.equal(await page.isVisible('#live'), false);
  assert.equal(await page.evaluate(() => document.querySelector('#video').srcObject), null);
  await captioned(page, '…');
  assert.deepEqual(wrong, []);
  await browser.close();
});
