// How a model's files come to a page: compressed and from another origin, kept between visits, and without the files of the threads.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { host, launch, path, serve } from './helpers.mjs';

const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
let server, browser;
before(async () => {
  server = await serve({ root: path('') });
  browser = await launch();
});
after(async () => {
  await browser.close();
  await server.close();
});

/** Loads with these arguments on a page of that site: { info, seen } or { failed }. */
async function loads(url, model, options = {}, context = browser) {
  const page = await context.page();
  await page.goto(`${url}tests/browser/plain.html`);
  const result = await page.evaluate(
    async ({ model, options }) => {
      const { BitMar } = await import('/web/bitmar/dist/index.js');
      const seen = [];
      try {
        const loaded = await BitMar.load(model ?? undefined, { ...options, onProgress: (progress) => seen.push(progress) });
        const { tokens } = await loaded.caption({ data: new Uint8Array(300).fill(99), width: 10, height: 10 }, { maxTokens: 2 });
        const { build, threads } = loaded.info;
        loaded.dispose();
        return { info: `${build} ${threads}`, tokens: tokens.length, seen, cores: navigator.hardwareConcurrency };
      } catch (error) {
        return { failed: `${error.code}: ${error.message}`, seen };
      }
    },
    { model: model ?? null, options },
  );
  await page.close();
  return result;
}

test('a compressed model on another origin', async () => {
  const foreign = createServer(async (request, response) => {
    const body = gzipSync(await readFile(path(`tests/golden/tiny${new URL(request.url, 'http://x').pathname}`)));
    response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': body.length, 'access-control-allow-origin': '*' }).end(body);
  });
  await new Promise((listening) => foreign.listen(0, '127.0.0.1', listening));
  const { failed, tokens, seen } = await loads(server.url, `http://localhost:${foreign.address().port}/`);
  foreign.close();
  foreign.closeAllConnections();
  assert.equal(failed, undefined);
  assert.ok(tokens);
  assert.equal(seen.at(-1).loaded, seen.at(-1).total);
});

describe('the files of the threads', () => {
  const wasm = /bitmar-relaxed-threads\.wasm$/;
  test('missing: one thread, unless they were asked for', async (t) => {
    const site = await host(server.url, '/', ISOLATED, (url) => wasm.test(url));
    const { failed, info, cores } = await loads(site.url, '/tests/golden/tiny/');
    const asked = await loads(site.url, '/tests/golden/tiny/', { build: 'relaxed-threads' });
    await site.close();
    if (cores < 2) return t.skip('one core');
    assert.deepEqual([failed, info], [undefined, 'relaxed 1']);
    assert.match(asked.failed, /^missing_file/);
  });
  test('a web page in the place of the wasm: the same', async (t) => {
    const page = new URL('tests/browser/plain.html', server.url);
    const site = await host((name) => (wasm.test(name) ? page : new URL(name, server.url)), '/', ISOLATED);
    const { failed, info, cores } = await loads(site.url, '/tests/golden/tiny/');
    await site.close();
    if (cores < 2) return t.skip('one core');
    assert.deepEqual([failed, info], [undefined, 'relaxed 1']);
  });
});

describe('what is kept between visits, without a service worker', () => {
  const model = '/web/bitmar-model/model/';
  let site, asked;
  before(async () => {
    site = await host(server.url, '/', { 'cache-control': 'no-store' }, (url) => (asked.push(url), false));
  });
  after(() => site.close());
  const addresses = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', weights: 'model.safetensors' };
  const ofModel = () => asked.filter((url) => url.startsWith(model)).map((url) => url.slice(model.length)).sort();
  /** Until the files of the last visit are kept. */
  const kept = async (count) => {
    const page = await browser.page();
    await page.goto(`${site.url}tests/browser/plain.html`);
    const found = await page.evaluate(async (count) => {
      for (;;) {
        const keys = await (await caches.open('bitmar model files')).keys();
        if (keys.length >= count) return keys.length;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }, count);
    await page.close();
    return found;
  };
  const tampered = async () => {
    const page = await browser.page();
    await page.goto(`${site.url}tests/browser/plain.html`);
    await page.evaluate(async () => {
      const cache = await caches.open('bitmar model files');
      for (const key of await cache.keys()) await cache.put(key, new Response('something else'));
    });
    await page.close();
  };

  test('the default model: downloaded once; what was damaged there, again', async () => {
    asked = [];
    const first = await loads(site.url);
    assert.equal(first.failed, undefined);
    assert.ok(ofModel().includes('model.safetensors'), ofModel().join());
    await kept(4);
    asked = [];
    const second = await loads(site.url);
    assert.equal(second.failed, undefined);
    assert.ok(second.tokens);
    assert.equal(second.seen.at(-1).loaded, second.seen.at(-1).total);
    assert.ok(!ofModel().some((file) => Object.values(addresses).includes(file)), ofModel().join());
    await tampered();
    asked = [];
    assert.ok((await loads(site.url)).tokens);
    assert.ok(ofModel().includes('model.safetensors'), ofModel().join());
  });

  test('a folder, by its manifest, from another path too; nothing where it is not wanted', async () => {
    asked = [];
    assert.ok((await loads(site.url, model, { cache: true })).tokens);
    assert.deepEqual(ofModel(), ['manifest.json']); // the files are those of the default model
    asked = [];
    assert.ok((await loads(site.url, model)).tokens);
    assert.ok(ofModel().includes('model.safetensors'));
    asked = [];
    assert.ok((await loads(site.url, undefined, { cache: false })).tokens);
    assert.ok(ofModel().includes('model.safetensors'));
  });

  test('a server that is gone: the manifest of the last visit', async () => {
    const page = await browser.page();
    await page.goto(`${site.url}tests/browser/plain.html`);
    const result = await page.evaluate(async (model) => {
      const { BitMar } = await import('/web/bitmar/dist/index.js');
      const offline = (address, init) => (String(address).endsWith('.wasm') ? fetch(address, init) : Promise.reject(new TypeError('offline')));
      const loaded = await BitMar.load(model, { cache: true, fetch: offline });
      const { tokens } = await loaded.caption({ data: new Uint8Array(300).fill(99), width: 10, height: 10 }, { maxTokens: 2 });
      return tokens.length;
    }, model);
    await page.close();
    assert.ok(result);
  });

  test('not more than a few models', async () => {
    const page = await browser.page();
    await page.goto(`${site.url}tests/browser/plain.html`);
    const most = await page.evaluate(async () => {
      const { BitMar } = await import('/web/bitmar/dist/index.js');
      const hex = async (bytes) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      const files = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', weights: 'model.safetensors' };
      const bytes = {};
      for (const [part, name] of Object.entries(files)) bytes[part] = new Uint8Array(await (await fetch(`/tests/golden/tiny/${name}`)).arrayBuffer());
      for (let i = 0; i < 24; i += 1) {
        const config = new Uint8Array([...bytes.config, ...Array(i).fill(32)]);
        const served = { ...bytes, config };
        const own = (address, init) => {
          const part = Object.keys(files).find((name) => String(address).endsWith(`/x/${name}`));
          return part ? Promise.resolve(new Response(served[part])) : fetch(address, init);
        };
        const model = Object.fromEntries(Object.keys(files).map((part) => [part, `/x/${part}`]));
        model.sha256 = Object.fromEntries(await Promise.all(Object.entries(served).map(async ([part, each]) => [part, await hex(each)])));
        (await BitMar.load(model, { fetch: own, worker: false })).dispose();
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
      return (await (await caches.open('bitmar model files')).keys()).length;
    });
    await page.close();
    assert.ok(most > 4 && most <= 20, `${most} files`);
  });
});
