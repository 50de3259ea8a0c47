// The page's memory: its timeline, search, names, export and forgetting, across reloads. Each test has an origin, and so a memory, of its own.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { complaints, launch, path, samplePhotos, savedCaptions, serve } from './helpers.mjs';

let browser, photos, server, page, wrong;
before(async () => {
  browser = await launch();
  photos = await samplePhotos();
});
after(() => browser.close());
beforeEach(async () => {
  server = await serve({ root: path('web/demo/dist') });
  wrong = [];
  page = await visit();
  await opened();
});
afterEach(async () => {
  await page.close();
  await server.close();
  assert.deepEqual(wrong.flat(), [], 'no complaint in the console');
});

/** In another tab. */
async function visit() {
  const page = await browser.page();
  wrong.push(complaints(page, new URL(server.url).origin));
  page.on('dialog', (dialog) => dialog.accept());
  await page.goto(server.url);
  return page;
}

const opened = () => page.waitForSelector('#diary:not([hidden])', { timeout: 60_000 });
const count = (n) => page.waitForFunction((wanted) => document.querySelectorAll('#moments li').length === wanted, n, { timeout: 60_000 });
const said = () => page.$$eval('#moments .said', (cards) => cards.map((card) => card.textContent));

async function show(photo, name) {
  const before = await page.textContent('#announce');
  await page.setInputFiles('#file', { name, mimeType: 'image/jpeg', buffer: photo });
  await page.waitForFunction((old) => document.querySelector('#announce').textContent !== old, before, { timeout: 3_000 }).catch(() => {}); // two photos may have one caption
}

/** Shows these photos, of which the page remembers each. */
async function remembered(...wanted) {
  for (const [i, photo] of wanted.entries()) {
    await show(photos[photo], `${photo}.jpg`);
    await count(i + 1);
  }
}

/** So many are on the disk. */
async function saved(n) {
  await page.evaluate(() => window.dispatchEvent(new Event('pagehide')));
  await savedCaptions(page, n);
}

describe('what the page remembers', () => {
  test('nothing of its own samples', async () => {
    await page.locator('.samples button').nth(2).click();
    await page.waitForTimeout(500);
    assert.equal(await page.locator('#moments li').count(), 0);
    assert.match(await page.textContent('#moments-empty'), /Nothing yet/);
    assert.match(await page.textContent('#diary-status'), /stays on this device/);
  });

  test("a visitor's photos, each with its caption and a picture, after a reload too", async () => {
    await remembered(1, 2, 5);
    const before = await said();
    await saved(3);
    await page.reload();
    await opened();
    await count(3);
    assert.deepEqual(await said(), before);
    const loaded = await page.$$eval('#moments img', (pictures) => Promise.all(pictures.map((p) => p.decode().then(() => p.naturalWidth))));
    assert.equal(loaded.length, 3);
    assert.ok(loaded.every((width) => width > 0));
  });

  test('not while the switch is off', async () => {
    await remembered(1);
    await page.locator('#remember').uncheck();
    await show(photos[4], '4.jpg');
    await page.waitForTimeout(500);
    assert.equal(await page.locator('#moments li').count(), 1);
    await page.locator('#remember').check();
    await show(photos[2], '2.jpg');
    await count(2);
  });

  test('a name that is taught is said of the same thing', async () => {
    await remembered(1, 2);
    await show(photos[5], '5.jpg');
    await page.fill('#teach-name', 'my red cup');
    await page.click('#teach');
    await page.waitForFunction(() => /my red cup/.test(document.querySelector('#recalls:not([hidden])')?.textContent), null, { timeout: 60_000 });
    await page.locator('.samples button').nth(2).click();
    await page.waitForFunction(() => !/my red cup/.test(document.querySelector('#recalls:not([hidden])')?.textContent ?? ''), null, { timeout: 60_000 });
  });

  test('a name that is given in the dialogue', async () => {
    await remembered(2);
    await page.locator('#moments button').last().click();
    await page.fill('#moment-name', 'the flight');
    await page.click('#moment-save');
    await page.waitForFunction(() => [...document.querySelectorAll('#moments .named')].some((card) => card.textContent === 'the flight'), null, { timeout: 60_000 });
  });

  test('a name that is too long is cut between characters to what the memory keeps, in both fields', async () => {
    await remembered(1);
    const family = '👨‍👩‍👧‍👦'; // one character of 25 bytes
    const names = {
      ['x'.repeat(63)]: 'x'.repeat(63),
      ['x'.repeat(64)]: 'x'.repeat(63),
      ['ß'.repeat(50)]: 'ß'.repeat(31),
      [`${'a'.repeat(62)}é`]: 'a'.repeat(62),
      [`${'a'.repeat(62)}e\u0301`]: 'a'.repeat(62), // an e and its accent
      ['犬'.repeat(22)]: '犬'.repeat(21),
      [family.repeat(3)]: family.repeat(2),
      [`half \ud83d pair`]: 'half \ufffd pair',
    };
    for (const [typed, expected] of Object.entries(names)) {
      await page.fill('#teach-name', '');
      await page.focus('#teach-name');
      await page.keyboard.insertText(typed);
      assert.equal(await page.inputValue('#teach-name'), expected, typed);
      await page.locator('#moments button').last().click();
      await page.fill('#moment-name', '');
      await page.focus('#moment-name');
      await page.keyboard.insertText(typed);
      assert.equal(await page.inputValue('#moment-name'), expected, typed);
      await page.click('#moment-save');
      await page.waitForFunction((name) => [...document.querySelectorAll('#moments .named')].some((card) => card.textContent === name), expected, { timeout: 60_000 });
    }
    await page.fill('#teach-name', '');
    assert.ok(await page.locator('#notice').isHidden(), 'nothing went wrong');
  });

  test('a search ranks it as one types', async () => {
    await remembered(5, 1, 2);
    const newestFirst = await said();
    await page.locator('#search').pressSequentially('a man', { delay: 30 });
    const first = (caption) => page.waitForFunction((wanted) => document.querySelector('#moments .said')?.textContent === wanted, caption, { timeout: 60_000 });
    await first(newestFirst.at(-1));
    await page.fill('#search', '');
    await first(newestFirst[0]);
    await count(3);
    assert.deepEqual(await said(), newestFirst);
  });

  test('one is forgotten; exported, all forgotten, imported again', async () => {
    await remembered(1, 2, 5);
    await page.locator('#moments button').first().click();
    await page.click('#moment-forget');
    await count(2);
    const kept = await said();
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
    const file = await readFile(await download.path());
    await page.click('#forget-all');
    await count(0);
    await page.reload();
    await opened();
    assert.equal(await page.locator('#moments li').count(), 0);
    await page.setInputFiles('#import-file', { name: 'memory.bin', mimeType: 'application/octet-stream', buffer: file });
    await count(2);
    assert.deepEqual(await said(), kept);
  });

  test('a file that is no memory: a message, and nothing is lost', async () => {
    await remembered(1);
    await page.setInputFiles('#import-file', { name: 'memory.bin', mimeType: 'application/octet-stream', buffer: Buffer.from('no memory') });
    await page.waitForSelector('#notice:not([hidden])');
    assert.equal(await page.locator('#moments li').count(), 1);
  });

  test('a second tab says beside the switch that it only reads; once the first is gone it writes', async () => {
    await remembered(1);
    const second = await visit();
    await second.waitForSelector('#reading:not([hidden])', { timeout: 60_000 });
    for (const id of ['remember', 'teach', 'import', 'forget-all']) assert.equal(await second.locator(`#${id}`).isDisabled(), true, id);
    assert.equal(await page.locator('#reading').isHidden(), true);
    await page.close();
    page = second;
    await page.waitForSelector('#reading', { state: 'hidden', timeout: 60_000 });
    for (const id of ['remember', 'teach', 'import', 'forget-all']) assert.equal(await page.locator(`#${id}`).isDisabled(), false, id);
  });

  test('what an earlier model remembered is looked at again, and offered', async () => {
    await remembered(1, 2, 5);
    await saved(3);
    // As it is after the weights have changed: the memory is under another hash.
    await page.close();
    const elsewhere = await browser.page();
    await elsewhere.goto(`${server.url}icon.svg`);
    await elsewhere.evaluate(async () => {
      const opened = (name, prepare = () => {}) => new Promise((resolve, reject) => {
        Object.assign(indexedDB.open(name, 1), { onsuccess: ({ target }) => resolve(target.result), onerror: reject, onupgradeneeded: ({ target }) => prepare(target.result) });
      });
      const done = (transaction) => new Promise((resolve) => (transaction.oncomplete = resolve));
      const [{ name }] = await indexedDB.databases();
      const from = await opened(name);
      const names = [...from.objectStoreNames];
      const to = await opened(`bitmar-memory-${'a1'.repeat(32)}`, (database) => names.forEach((each) => database.createObjectStore(each)));
      for (const each of names) {
        const read = from.transaction(each).objectStore(each);
        const [keys, values] = await Promise.all([read.getAllKeys(), read.getAll()].map((request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)))));
        const write = to.transaction(each, 'readwrite');
        keys.forEach((key, i) => write.objectStore(each).put(values[i], key));
        await done(write);
      }
      for (const database of [from, to]) database.close();
      await new Promise((resolve) => (indexedDB.deleteDatabase(name).onsuccess = resolve));
    });
    await elsewhere.close();
    page = await visit();
    await count(3);
    await page.waitForSelector('#earlier:not([hidden])', { timeout: 60_000 });
    assert.match(await page.textContent('#earlier-text'), /remembered 3 moments/);
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#earlier-export')]);
    assert.ok((await readFile(await download.path())).length > 1000);
    await page.click('#earlier-delete');
    await page.waitForSelector('#earlier', { state: 'hidden' });
    await page.reload();
    await count(3);
    assert.equal(await page.locator('#earlier').isHidden(), true);
  });
});
