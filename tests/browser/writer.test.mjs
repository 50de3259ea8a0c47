// One writer among tabs: two and three real ones.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { launch, path, serve } from './helpers.mjs';

describe('the writer among tabs', () => {
  let server, browser;
  before(async () => {
    server = await serve({ root: path('') });
    browser = await launch();
  });
  after(async () => {
    await browser.close();
    await server.close();
  });

  /** A tab that has claimed the role; its `seen` has what it was told. */
  async function tab(name) {
    const page = await browser.page();
    await page.goto(`${server.url}tests/browser/blank.html`);
    const writer = await page.evaluate(async (name) => {
      const { canChooseWriter, join } = await import('/web/bitmar/dist/store/writer.js');
      if (!canChooseWriter()) throw new Error('no locks');
      globalThis.seen = [];
      globalThis.member = await join(name, {
        granted: () => seen.push('granted'),
        news: ({ from, to, frame }) => seen.push(`${from}-${to} ${frame?.join() ?? ''}`),
      });
      return member.writer;
    }, name);
    const until = (word) => page.waitForFunction((word) => globalThis.seen.includes(word), word, { timeout: 60_000 });
    return { page, writer, until };
  }

  test('one has the role, the other is told', async () => {
    const [first, second] = [await tab('news'), await tab('news')];
    assert.deepEqual([first.writer, second.writer], [true, false]);
    await first.page.evaluate(() => member.tell({ from: 1, to: 2, frame: Uint8Array.of(7, 8) }));
    await second.until('1-2 7,8');
    assert.deepEqual(await first.page.evaluate(() => seen), []);
    for (const { page } of [first, second]) await page.close();
  });

  test('another memory has another writer', async () => {
    const tabs = [await tab('one'), await tab('two')];
    assert.ok(tabs.every(({ writer }) => writer));
    for (const { page } of tabs) await page.close();
  });

  test('the role passes on when the writer leaves, closes or crashes', async () => {
    const tabs = [];
    for (let i = 0; i < 4; i += 1) tabs.push(await tab('role'));
    assert.deepEqual(tabs.map(({ writer }) => writer), [true, false, false, false]);
    await tabs[0].page.evaluate(() => member.leave());
    await tabs[1].until('granted');
    await tabs[1].page.close();
    await tabs[2].until('granted');
    assert.deepEqual(await tabs[3].page.evaluate(() => seen), []);
    await tabs[2].page.goto('chrome://crash').catch(() => {});
    await tabs[3].until('granted');
    for (const { page } of tabs) await page.close();
  });

  test('who leaves before its turn is passed over', async () => {
    const tabs = [await tab('turn'), await tab('turn'), await tab('turn')];
    await tabs[1].page.evaluate(() => member.leave());
    await tabs[0].page.close();
    await tabs[2].until('granted');
    assert.deepEqual(await tabs[1].page.evaluate(() => seen), []);
    for (const { page } of tabs) await page.close();
  });
});
