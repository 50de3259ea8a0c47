// The page in another language: built with other words, nothing of the English ones is left but what the model says and reads.
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { build } from 'vite';
import { picture, png } from '../node/helpers.mjs';
import { complaints, launch, path, serve } from './helpers.mjs';

const STRINGS = path('web/demo/src/strings.json');
let folder, server, browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bitmar-strings-'));
  const marked = (entry) => (typeof entry === 'string' ? `⟦${entry}⟧` : Object.fromEntries(Object.entries(entry).map(([form, words]) => [form, marked(words)])));
  const strings = Object.entries(JSON.parse(await readFile(STRINGS, 'utf8'))).map(([key, entry]) => [key, key === 'language' ? 'de' : marked(entry)]);
  process.env.BITMAR_STRINGS = join(folder, 'strings.json');
  await writeFile(process.env.BITMAR_STRINGS, JSON.stringify(Object.fromEntries(strings)));
  await build({ configFile: path('web/demo/vite.config.ts'), build: { outDir: join(folder, 'dist'), emptyOutDir: true }, logLevel: 'error' });
  delete process.env.BITMAR_STRINGS;
  server = await serve({ root: join(folder, 'dist') });
  browser = await launch();
});
after(async () => {
  await browser.close();
  await server.close();
  await rm(folder, { recursive: true });
});

/** Everything with letters that a visitor sees or hears, hidden parts too, outside of the marks. */
const unmarked = (page) =>
  page.evaluate(() => {
    const english = '#caption, #announce, #examples, #gallery-photos, #moments .said, #moment-caption, #how-reminders, #how-alternatives, #how-chips, #how-expected, h1, small'; // the model's, the name, ms
    const found = [document.title, document.querySelector('meta[name=description]').content];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) if (!node.parentElement.closest(english)) found.push(node.data);
    for (const element of document.querySelectorAll('body *')) {
      for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'data-before']) found.push(element.getAttribute(name) ?? '');
    }
    return found.filter((words) => /\p{L}/u.test(words.replace(/⟦.*⟧/su, '')));
  });

test('every word is of strings.json, whatever is shown', async () => {
  const page = await browser.page();
  const wrong = complaints(page, new URL(server.url).origin);
  await page.goto(server.url);
  await page.waitForFunction(() => document.querySelector('#announce').textContent, undefined, { timeout: 20_000 });
  assert.deepEqual(await unmarked(page), []);
  assert.equal(await page.getAttribute('html', 'lang'), 'de');
  assert.match(await page.textContent('#model'), /⟦4,\d MB downloaded⟧/, 'numbers, too');

  await page.click('#how summary');
  await page.waitForSelector('#how-without:not([hidden])');
  await page.click('#camera');
  await page.waitForSelector('#notice:not([hidden])');
  assert.deepEqual(await unmarked(page), []);
  await page.setInputFiles('#file', [1, 2].map((seed) => ({ name: `${seed}.png`, mimeType: 'image/png', buffer: png(picture(60, 40, seed)) })));
  await page.waitForFunction(() => document.querySelectorAll('#moments li').length > 0, undefined, { timeout: 20_000 });
  await page.fill('#search', 'a dog');
  await page.click('#copy');
  await page.waitForFunction(() => document.querySelector('#did').textContent);
  if (await page.isVisible('#ask')) {
    await page.click('#examples button');
    await page.waitForFunction(() => document.querySelector('#answer').textContent);
    await page.evaluate(() => document.querySelector('#answer strong')?.remove()); // the model's
  }
  await page.fill('#search', '');
  await page.locator('#moments button').first().click();
  assert.deepEqual(await unmarked(page), []);
  await page.click('#moment-close');
  await page.setInputFiles('#file', { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no') });
  await page.waitForSelector('#nothing:not([hidden])');
  assert.deepEqual(await unmarked(page), []);
  assert.deepEqual(wrong, []);
  await page.close();

  const manifest = await (await fetch(new URL('manifest.webmanifest', server.url))).json();
  assert.equal(manifest.lang, 'de');
  assert.match(manifest.description, /^⟦.+⟧$/);
});

test('and every entry of strings.json is used', async () => {
  const sources = path('web/demo/src/');
  const names = (await readdir(sources)).filter((name) => name.endsWith('.ts'));
  const texts = await Promise.all([...names.map((name) => join(sources, name)), path('web/demo/index.html'), path('web/demo/public/manifest.webmanifest')].map((file) => readFile(file, 'utf8')));
  const used = texts.join('\n');
  const unused = Object.keys(JSON.parse(await readFile(STRINGS, 'utf8'))).filter((key) => key !== 'language' && !used.includes(`'${key}'`) && !used.includes(`{{${key}}}`));
  assert.deepEqual(unused, []);
});
