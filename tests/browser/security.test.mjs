// After loading, a page that uses the package asks nobody for anything.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { host, launch, path, samplePhotos, serve } from './helpers.mjs';

test('no request after load: captions, memory, search, names, export', async () => {
  const server = await serve({ root: path('web/demo/dist') });
  const asked = []; // of the page's own server, by whichever worker; the policy and this test's list know of no other
  const site = await host(server.url, '/', {}, (url) => (asked.push(url), false));
  const browser = await launch();
  const page = await browser.page();
  await page.goto(site.url);
  await page.waitForSelector('#diary:not([hidden])', { timeout: 60_000 });
  await page.waitForFunction(() => document.querySelector('#announce').textContent, undefined, { timeout: 60_000 });
  await page.evaluate(() => navigator.serviceWorker.ready.then(({ active }) => active.state === 'activated' || new Promise((resolve) => active.addEventListener('statechange', resolve))));

  asked.length = 0;
  browser.context.on('request', (request) => request.url().startsWith('blob:') || asked.push(request.url()));
  const [, photo, other] = await samplePhotos();
  for (const [i, buffer] of [photo, other].entries()) {
    await page.setInputFiles('#file', { name: `${i}.jpg`, mimeType: 'image/jpeg', buffer });
    await page.waitForFunction((wanted) => document.querySelectorAll('#moments li').length === wanted, i + 1, { timeout: 60_000 });
  }
  await page.fill('#teach-name', 'my things');
  await page.click('#teach');
  await page.waitForFunction(() => /my things/.test(document.querySelector('#recalls:not([hidden])')?.textContent), null, { timeout: 60_000 });
  await page.fill('#search', 'a dog');
  const download = page.waitForEvent('download');
  await page.click('#export');
  await (await download).path();
  await page.waitForTimeout(1500); // it saves by itself within a second
  assert.deepEqual(asked, []);

  // This would have heard of one.
  await page.evaluate(() => fetch('something'));
  assert.ok(asked.includes('/something'), asked.join());
  await browser.close();
  await site.close();
  await server.close();
});
