// "See how it works", opened: figures of the caption on the stage, and what the memory has to do with it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { complaints, disposeNodeModel, launch, nodeCaption, path, samplePhotos, serve, shownPixels } from './helpers.mjs';

let server, browser, photos;
before(async () => {
  server = await serve({ root: path('web/demo/dist') });
  browser = await launch('--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream');
  photos = await samplePhotos();
});
after(async () => {
  await browser.close();
  await server.close();
  disposeNodeModel();
});

const file = (buffer, i) => ({ name: `${i}.jpg`, mimeType: 'image/jpeg', buffer });
const milliseconds = (text) => Number(/([\d.,]+)\s*ms$/.exec(text)[1]);

async function open() {
  const page = await browser.page();
  const wrong = complaints(page, new URL(server.url).origin);
  await page.goto(server.url);
  await page.waitForFunction(() => document.querySelector('#announce').textContent, undefined, { timeout: 20_000 });
  return { page, wrong };
}

test('times, chances and reminders of a photo; computed only while it is open', async () => {
  const { page, wrong } = await open();
  await page.setInputFiles('#file', [photos[1], photos[4]].map(file));
  await page.waitForFunction(() => document.querySelectorAll('#moments li').length === 2, undefined, { timeout: 20_000 });
  assert.equal(await page.locator('#how-times li').count(), 0);
  assert.equal(await page.textContent('#how-without'), '');

  await page.click('#how summary');
  await page.setInputFiles('#file', file(photos[1], 'again'));
  await page.waitForSelector('#how-without:not([hidden])', { timeout: 20_000 });
  await page.waitForSelector('#how-reminders li');
  const times = await page.$$eval('#how-times strong', (all) => all.map(({ textContent }) => textContent));
  assert.equal(times.length, 3);
  assert.ok(Math.abs(milliseconds(times[1]) - milliseconds(await page.textContent('#vision-ms'))) < 1);
  assert.ok(Math.abs(milliseconds(times[2]) - milliseconds(await page.textContent('#text-ms'))) < 1);
  const grown = await page.$$eval('#how-bar span', (parts) => parts.map((part) => Number(part.style.flexGrow)));
  assert.ok(Math.abs(grown[2] - milliseconds(times[2])) <= 0.5, `${grown}`);
  assert.match(await page.textContent('#how-words'), /a chance of \d+%.*in \d+% of cases/);

  const others = await page.$$eval('#how-alternatives li', (items) => items.map(({ textContent }) => textContent));
  assert.ok(others.length >= 2 && !others.includes((await page.textContent('#caption')).trim()), `${others}`);

  // Seen before: the same photo is the first reminder, with its picture.
  const [first] = await page.$$eval('#how-reminders li', (items) => items.map((item) => [item.querySelector('strong').textContent, item.querySelector('img') !== null]));
  assert.deepEqual(first, ['100%', true]);

  // What it says without its memory is what a model says that has none.
  const { text } = await nodeCaption(await shownPixels(page), { numBeams: 8 });
  const without = await page.textContent('#how-without');
  const said = (await page.textContent('#caption')).trim();
  assert.equal(without, text === said ? 'Without its memory, it says the same.' : `Without its memory, it says: ${text}`);
  assert.deepEqual(wrong, []);
  await page.close();
});

test('with another picture, a live one and none', async () => {
  const { page, wrong } = await open();
  await page.click('#how summary');
  await page.waitForSelector('#how-parts:not([hidden])');
  const words = () => page.textContent('#how-words');
  const before = await words();
  await page.locator('.samples button').nth(4).click();
  await page.waitForFunction((before) => document.querySelector('#how-parts:not([hidden]) #how-words')?.textContent !== before, before);
  await page.click('#camera');
  await page.waitForFunction(() => document.body.classList.contains('is-live') && document.querySelector('#how-parts:not([hidden])'), undefined, { timeout: 20_000 });
  assert.equal(await page.isVisible('#how-without'), false, 'twice the work for each frame');
  await page.setInputFiles('#file', { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') });
  await page.waitForSelector('#nothing:not([hidden])');
  assert.equal(await page.isVisible('#how-parts'), false);
  assert.deepEqual(wrong, []);
  await page.close();
});
