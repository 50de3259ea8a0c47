// "See how it works", opened: figures of the caption on the stage, and what the memory has to do with it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { BitMar } from 'bitmar';
import { complaints, disposeNodeModel, launch, MODEL, nodeCaption, path, samplePhotos, serve, shownPixels } from './helpers.mjs';

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

async function open({ url } = server) {
  const page = await browser.page();
  const wrong = complaints(page, new URL(url).origin);
  await page.goto(url);
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

test('what each word looked at, what was expected, and the weights: what node explains', async (t) => {
  const fresh = await serve({ root: path('web/demo/dist') }); // another origin, whose memory is empty
  t.after(() => fresh.close());
  const { page, wrong } = await open(fresh);
  await page.setInputFiles('#file', file(photos[4], 'shown'));
  await page.waitForFunction(() => document.querySelectorAll('#moments li').length === 1, undefined, { timeout: 20_000 });
  assert.equal(await page.locator('#how-chips button').count(), 0, 'nothing is computed while it is closed');
  await page.click('#how summary');
  await page.waitForSelector('#how-looked:not([hidden])', { timeout: 20_000 });
  const said = (await page.textContent('#caption')).trim().replace(/^(Perhaps|Maybe) /, '');
  const chips = await page.locator('#how-chips button').allTextContents();
  assert.ok(said.endsWith(chips.join(' ')), `${said}: ${chips}`);

  // The page's memory holds this very photo by now, which it did not when the caption was found.
  const { base64, width, height } = await shownPixels(page);
  const model = await BitMar.load(MODEL);
  const picture = { data: new Uint8Array(Buffer.from(base64, 'base64')), width, height };
  const { words, expected } = await model.explain(picture, chips.join(' '));
  assert.equal(await page.isVisible('#how-slots-part'), false);

  const percent = (part) => part.toLocaleString('en', { style: 'percent', maximumSignificantDigits: 2 });
  const drawn = () => page.evaluate(() => document.querySelector('#how-picture').toDataURL());
  const pictures = new Set();
  await page.locator('#how-chips button').first().click();
  for (const [i, word] of words.entries()) {
    assert.equal(await page.locator('#how-chips button[aria-pressed=true]').textContent(), word.text);
    assert.match(await page.textContent('#how-chance'), new RegExp(`a chance of ${percent(word.probability)} `));
    const seen = word.patches.reduce((sum, share) => sum + share, 0);
    assert.deepEqual(await page.locator('#how-attention strong').allTextContents(), [seen, word.before, word.prompt].map(percent));
    pictures.add(await drawn());
    if (i + 1 < words.length) await page.keyboard.press('ArrowRight');
  }
  assert.ok(pictures.size > 1, 'another word looks elsewhere');
  const likely = expected.filter(({ text, probability }) => probability >= 0.05 && text.length >= 3).sort((a, b) => b.probability - a.probability);
  assert.deepEqual(await page.locator('#how-expected li').allTextContents(), likely.map(({ text, probability }) => `${text}${percent(probability)}`));

  // Of the file's bytes, counted here in another way.
  const weights = await readFile(`${MODEL}/model.safetensors`);
  const header = JSON.parse(weights.subarray(8, 8 + Number(weights.readBigUInt64LE(0))));
  const [from, to] = header['decoder.layers.0.attention.q_proj.weight'].data_offsets.map((at) => at + 8 + Number(weights.readBigUInt64LE(0)));
  const counts = [0, 0, 0];
  for (const byte of weights.subarray(from, to)) for (const shift of [0, 2, 4, 6]) counts[(byte >> shift) & 3] += 1;
  await page.waitForFunction(() => document.querySelector('#how-ternary-counts').textContent);
  const shares = counts.map((count) => `${Math.round((100 * count) / (4 * (to - from)))}%`);
  assert.match(await page.textContent('#how-ternary-counts'), new RegExp(`${shares[0]} are −1, ${shares[1]} are 0, ${shares[2]} are 1`));

  // Seen again, it reads what it knows of it.
  await model.memory.write(picture, { numBeams: 8 });
  const { text, episode } = await model.caption(picture, { numBeams: 8, writeMemory: true });
  assert.equal(episode.outcome, 'blended');
  const [again] = (await model.explain(picture, text)).words;
  model.dispose();
  await page.setInputFiles('#file', file(photos[4], 'again'));
  await page.waitForSelector('#how-slots-part:not([hidden])', { timeout: 20_000 });
  assert.match(await page.textContent('#how-read'), /^It read one of 1 remembered pictures\..*100% at most\.$/);
  assert.equal(await page.locator('#how-slots span').count(), 1);
  await page.locator('#how-chips button').first().click();
  const seen = again.patches.reduce((sum, share) => sum + share, 0);
  assert.deepEqual(await page.locator('#how-attention strong').allTextContents(), [seen, again.before, again.prompt, again.memory].map(percent));
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
  assert.equal(await page.isVisible('#how-looked'), false);
  assert.match(await page.textContent('#how-live'), /^Freeze/);
  await page.setInputFiles('#file', { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') });
  await page.waitForSelector('#nothing:not([hidden])');
  assert.equal(await page.isVisible('#how-parts'), false);
  assert.deepEqual(wrong, []);
  await page.close();
});
