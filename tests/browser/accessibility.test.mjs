// What axe finds on the page, in each of its states, in light and dark: nothing.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import { launch, path, samplePhotos, serve } from './helpers.mjs';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
let server, browser, axe, photos;
before(async () => {
  axe = await readFile(AXE, 'utf8');
  photos = await samplePhotos();
  server = await serve({ root: path('web/demo/dist') });
  browser = await launch('--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream=device-count=2');
});
after(async () => {
  await browser.close();
  await server.close();
});

/** Problems, each with the elements that have it. */
async function problems(page) {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations, passes } = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    if (!passes.some(({ id }) => id === 'color-contrast')) throw new Error('axe has not looked');
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  });
}

const file = (buffer, i) => ({ name: `${i}.jpg`, mimeType: 'image/jpeg', buffer });

for (const colorScheme of ['light', 'dark']) {
  test(`axe, ${colorScheme}`, async () => {
    const page = await browser.page();
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' }); // no colours half way
    await page.goto(server.url);
    await page.waitForFunction(() => document.querySelector('#announce').textContent, undefined, { timeout: 20_000 });
    assert.deepEqual(await problems(page), [], 'a sample');

    await page.click('#more-controls summary');
    await page.click('#how summary');
    await page.setInputFiles('#file', photos.map(file));
    await page.waitForFunction((count) => [...document.querySelectorAll('#gallery-photos img')].filter(({ src }) => src).length === count, photos.length, { timeout: 30_000 });
    await page.waitForSelector('#moments li');
    await page.waitForSelector('#how-without:not([hidden])');
    assert.deepEqual(await problems(page), [], 'photos, some of them remembered');

    await page.locator('#moments button').first().click();
    assert.deepEqual(await problems(page), [], 'one of them opened');
    await page.click('#moment-close');

    await page.click('#camera');
    await page.waitForSelector('#live[data-state=live]');
    await page.waitForSelector('#flip:not([hidden])');
    assert.deepEqual(await problems(page), [], 'the camera');

    await page.click('#freeze');
    await page.waitForSelector('#resume:not([hidden])');
    assert.deepEqual(await problems(page), [], 'frozen');

    await page.setInputFiles('#file', file(Buffer.from('no picture'), 'notes'));
    await page.waitForSelector('#nothing:not([hidden])');
    assert.deepEqual(await problems(page), [], 'nothing');
    await page.close();
  });
}
