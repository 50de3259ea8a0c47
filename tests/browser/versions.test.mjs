// One version of the page deployed over another: nobody gets a mixture, nobody loses the page, nothing is fetched twice.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { build } from 'vite';
import { TINY } from '../node/helpers.mjs';
import { host, launch, path, serve } from './helpers.mjs';

const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
const V1 = path('web/demo/dist');
let folder, V2, v1, v2;

/** Another version: another model, so that scripts and page differ as well, and another picture under the same name. */
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bitmar-versions-'));
  V2 = join(folder, 'dist');
  const publicDir = join(folder, 'public');
  await cp(path('web/demo/public'), publicDir, { recursive: true });
  await copyFile(join(publicDir, 'samples/coffee.jpg'), join(publicDir, 'samples/cat.jpg'));
  process.env.BITMAR_MODEL = TINY;
  await build({ configFile: path('web/demo/vite.config.ts'), publicDir, build: { outDir: V2, emptyOutDir: true }, logLevel: 'error' });
  delete process.env.BITMAR_MODEL;
  [v1, v2] = [await serve({ root: V1 }), await serve({ root: V2 })];
});
after(async () => {
  await v1.close();
  await v2.close();
  await rm(folder, { recursive: true, force: true });
});

const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex');
const fileHash = async (root, name) => hashOf(await readFile(join(root, name)));

/** What a page consists of, as far as it can be seen: its model, a picture under a name of both versions, its scripts. */
async function seen(page) {
  await page.waitForFunction(() => /MB/.test(document.querySelector('#model').textContent), undefined, { timeout: 60_000 });
  return page.evaluate(async () => {
    const bytes = await (await fetch('samples/cat.jpg')).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    const cat = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    const script = document.querySelector('script[type=module]').src.replace(/.*\//, '');
    return { model: /[\d.]+ MB/.exec(document.querySelector('#model').textContent)[0], cat, script };
  });
}

async function whole(root) {
  const [, folder] = /"model\/([0-9a-f]+)\/config.json"/.exec(await readFile(join(root, 'sw.js'), 'utf8'));
  const sizes = await Promise.all((await readdir(join(root, 'model', folder))).map(async (name) => (await stat(join(root, 'model', folder, name))).size));
  const script = /src="\.\/assets\/([^"]+)"/.exec(await readFile(join(root, 'index.html'), 'utf8'))[1];
  return { model: `${(sizes.reduce((a, b) => a + b) / 1e6).toFixed(1)} MB`, cat: await fileHash(root, 'samples/cat.jpg'), script };
}

const active = (page) =>
  page.evaluate(() => navigator.serviceWorker.ready.then(({ active }) => active.state === 'activated' || new Promise((resolve) => active.addEventListener('statechange', resolve))));
const offered = (page) => page.waitForSelector('#update:not([hidden])', { timeout: 60_000 });

test('v2 over v1, everything with max-age=600', async () => {
  let current = v1;
  const site = await host((name) => new URL(name, current.url), '/app/', { ...ISOLATED, 'cache-control': 'max-age=600' });
  const browser = await launch();
  const page = await browser.page();
  await page.goto(site.url);
  const [first, second] = [await whole(V1), await whole(V2)];
  for (const part of Object.keys(first)) assert.notEqual(first[part], second[part], part);
  assert.deepEqual(await seen(page), first);
  await active(page);
  // Caches of others: another version's at another address, and those of older versions, with their page under the scope.
  await page.evaluate(async () => {
    const put = async (name, address) => (await caches.open(name)).put(new URL(address, location), new Response('x'));
    await put('bitmar http://localhost/elsewhere/', 'elsewhere');
    await put('bitmar-0123456789abcdef', './');
    await put('bitmar-fedcba9876543210', '/elsewhere/');
    await put('another', './');
  });

  current = v2;
  await page.reload();
  assert.deepEqual(await seen(page), first, 'reloaded: the old version, complete');
  await offered(page);
  await page.reload();
  assert.deepEqual(await seen(page), first, 'again, while the new one waits');
  await offered(page);
  const other = await browser.page();
  await other.goto(site.url);
  assert.deepEqual(await seen(other), first, 'in another tab');

  await page.click('#update-now');
  await page.waitForFunction((script) => document.querySelector(`script[src$="${script}"]`), second.script, { timeout: 60_000 });
  assert.deepEqual(await seen(page), second, 'the new version, complete, after the offer was taken');
  assert.equal(await page.isHidden('#update'), true);

  await offered(other);
  const status = await other.evaluate(async (script) => {
    const model = performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/config.json')).name;
    return Promise.all([model, `assets/${script}`].map(async (address) => (await fetch(address, { cache: 'reload' })).status)); // not from the browser's own cache
  }, first.script);
  assert.deepEqual(status, [200, 200], 'the other tab still has its own files, which the server has no more');
  await other.locator('.samples button').nth(1).click();
  await other.waitForFunction(() => !document.querySelector('#caption').classList.contains('stale'));

  await other.close();
  await page.reload();
  assert.deepEqual(await seen(page), second);
  await page.waitForFunction(async (script) => !(await caches.match(new URL(`assets/${script}`, location))), first.script, { timeout: 60_000 });
  const kept = await page.evaluate(async () => (await caches.keys()).sort());
  assert.deepEqual(kept, ['another', 'bitmar http://localhost/elsewhere/', `bitmar ${site.url}`, 'bitmar-fedcba9876543210'].sort());

  await site.close();
  await page.reload();
  assert.deepEqual(await seen(page), second, 'and without a network');
  await browser.close();
});

test('a deployment that is not complete is never taken', async () => {
  for (const stale of ['', 'samples/cat.jpg']) {
    let current = v1;
    // A part of the host still has the old page, or an old picture, beside the new service worker.
    const site = await host((name) => new URL(name, name === stale ? v1.url : current.url), '/', ISOLATED);
    const browser = await launch();
    const page = await browser.page();
    await page.goto(site.url);
    await seen(page);
    await active(page);
    current = v2;
    const state = await page.evaluate(async () => {
      const registration = await navigator.serviceWorker.ready;
      const ended = new Promise((resolve) =>
        registration.addEventListener('updatefound', () => {
          const worker = registration.installing;
          worker.addEventListener('statechange', () => resolve(worker.state));
        }),
      );
      await registration.update();
      return ended;
    });
    assert.equal(state, 'redundant', `${stale || 'the page'} of the old version`);
    assert.equal(await page.isHidden('#update'), true);
    await site.close();
    await page.reload();
    assert.deepEqual(await seen(page), await whole(V1));
    await browser.close();
  }
});

test('two versions at two addresses of one origin leave each other alone', async () => {
  const roots = { one: v1, two: v2 };
  const target = (name) => new URL(name.slice(4), roots[name.slice(0, 3)]?.url ?? v1.url);
  const site = await host(target, '/', ISOLATED);
  const browser = await launch();
  const page = await browser.page();
  for (const name of ['one', 'two', 'one']) {
    await page.goto(`${site.url}${name}/`);
    await seen(page);
    await active(page);
  }
  await site.close();
  for (const [name, root] of [['one', V1], ['two', V2]]) {
    await page.goto(`${site.url}${name}/`);
    assert.deepEqual(await seen(page), await whole(root), name);
  }
  await browser.close();
});

test('the first visit fetches everything once, and only what this browser runs', async (t) => {
  const site = await host(v1.url, '/', ISOLATED);
  const browser = await launch();
  const page = await browser.page();
  await page.goto(site.url);
  await seen(page);
  await active(page);
  const addresses = await page.evaluate(async () => {
    const [name] = await caches.keys();
    return (await (await caches.open(name)).keys()).map(({ url }) => url);
  });
  const wasm = addresses.filter((address) => address.endsWith('.wasm'));
  assert.equal(wasm.length, 1, wasm.join());
  const { sent } = site.counted;
  t.diagnostic(`${(sent / 1e6).toFixed(2)} MB, ${addresses.length} files kept`);
  let size = 0;
  for (const address of addresses) size += (await stat(join(V1, new URL(address).pathname.replace(/\/$/, '/index.html')))).size;
  assert.ok(sent <= 6e6, `${sent} bytes`);
  assert.ok(sent < size + 0.1e6, `${sent} bytes for files of ${size}`);

  // A second visit asks for next to nothing.
  const before = site.counted.sent;
  await page.reload();
  await seen(page);
  assert.ok(site.counted.sent - before < 20_000, `${site.counted.sent - before} bytes`);
  await browser.close();
  await site.close();
});
