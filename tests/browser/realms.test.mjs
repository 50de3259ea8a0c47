// Where else the package runs: imported from another origin, inside workers, several times in a page.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { disposeNodeModel, host, launch, nodeCaption, path, serve } from './helpers.mjs';

const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
const PIXELS = Uint8Array.from({ length: 40 * 40 * 3 }, (_, i) => (i * 7) % 251);
let server, browser, expected;
before(async () => {
  server = await serve({ root: path('') });
  browser = await launch();
  expected = await nodeCaption({ base64: Buffer.from(PIXELS).toString('base64'), width: 40, height: 40 });
});
after(async () => {
  await browser.close();
  await server.close();
  disposeNodeModel();
});

describe('a page that imports the package from another origin', () => {
  let cdn, asked;
  before(async () => {
    const file = (name) => new URL(name.replace(/^(bitmar(?:-model)?)@0\.1\.0\//, 'web/$1/'), server.url);
    cdn = await host(file, '/npm/', { 'access-control-allow-origin': '*' }, (url) => (asked.push(url), false));
  });
  after(() => cdn.close());

  /** What the five lines of the README come to on a page with these headers. */
  async function outcome(headers, options = {}) {
    asked = [];
    const site = await host(server.url, '/', headers);
    const page = await browser.page();
    await page.goto(`${site.url}tests/browser/plain.html`);
    const result = await page.evaluate(
      async ({ address, data, options }) => {
        try {
          const { BitMar } = await import(address);
          const model = await BitMar.load(undefined, options);
          const { text, tokens } = await model.caption({ data: new Uint8Array(data), width: 40, height: 40 });
          const { build, threads, worker } = model.info;
          model.dispose();
          return { text, tokens, info: `${build} ${threads} ${worker}`, cores: navigator.hardwareConcurrency };
        } catch (error) {
          return { failed: `${error.code}: ${error.message}` };
        }
      },
      { address: `${cdn.url}bitmar@0.1.0/dist/index.js`, data: [...PIXELS], options },
    );
    await page.close();
    await site.close();
    return result;
  }
  const said = ({ text, tokens, failed }) => {
    assert.equal(failed, undefined);
    assert.deepEqual({ text, tokens }, expected);
  };

  test('in a blob: worker, the model from the package beside it', async () => {
    const result = await outcome({});
    said(result);
    assert.equal(result.info, 'relaxed 1 true');
    assert.ok(asked.includes('/npm/bitmar-model@0.1.0/model/model.safetensors'), asked.join('\n'));
  });

  test('isolated: with its threads', async () => {
    const result = await outcome(ISOLATED);
    said(result);
    assert.equal(result.info, result.cores > 1 ? 'relaxed-threads 2 true' : 'relaxed 1 true');
  });

  test('under the policy of the README', async () => {
    const origin = new URL(cdn.url).origin;
    const policy = `default-src 'none'; script-src 'self' 'unsafe-inline' ${origin} 'wasm-unsafe-eval'; worker-src blob: ${origin}; connect-src ${origin}`;
    const result = await outcome({ ...ISOLATED, 'content-security-policy': policy });
    said(result);
    assert.equal(result.info, result.cores > 1 ? 'relaxed-threads 2 true' : 'relaxed 1 true');
  });

  test('under a policy without blob: workers: in this thread, unless a worker was asked for', async () => {
    const origin = new URL(cdn.url).origin;
    const policy = `default-src 'none'; script-src 'self' 'unsafe-inline' ${origin} 'wasm-unsafe-eval'; worker-src 'self'; connect-src ${origin}`;
    const headers = { ...ISOLATED, 'content-security-policy': policy };
    const result = await outcome(headers);
    said(result);
    assert.equal(result.info, 'relaxed 1 false');
    assert.match((await outcome(headers, { worker: true })).failed, /^worker_failed/);
  });
});

describe('inside workers', () => {
  let page;
  before(async () => {
    page = await browser.page();
    await page.goto(`${server.url}tests/browser/plain.html`);
  });
  after(() => page.close());
  const check = ({ failed, info, ...rest }, pattern) => {
    assert.equal(failed, undefined);
    assert.match(info, pattern);
    assert.deepEqual(rest, { ...expected, remembered: true, durable: true });
  };

  test('a module worker: with a worker and threads of its own', async () => {
    const result = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const worker = new Worker('realm-worker.js', { type: 'module' });
          worker.onerror = ({ message }) => resolve({ failed: message });
          worker.onmessage = ({ data }) => resolve(data);
          worker.postMessage('go');
        }),
    );
    check(result, /^relaxed(-threads 2| 1) true$/);
  });

  test('a shared worker', async () => {
    const result = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const worker = new SharedWorker('realm-worker.js', { type: 'module' });
          worker.onerror = ({ message }) => resolve({ failed: message });
          worker.port.onmessage = ({ data }) => resolve(data);
        }),
    );
    check(result, /^relaxed/);
  });

  test('a service worker: the entry with static imports, in its thread', async () => {
    const result = await page.evaluate(async () => {
      const registration = await navigator.serviceWorker.register('realm-service-worker.js', { type: 'module' });
      const worker = registration.installing ?? registration.waiting ?? registration.active;
      await new Promise((resolve) => (worker.state === 'activated' ? resolve() : worker.addEventListener('statechange', () => worker.state === 'activated' && resolve())));
      const answer = new Promise((resolve) => (navigator.serviceWorker.onmessage = ({ data }) => resolve(data)));
      worker.postMessage('go');
      const result = await answer;
      await registration.unregister();
      return result;
    });
    check(result, /^relaxed 1 false$/);
  });
});

test('two models in a page: both caption; the second one reads the memory that the first one writes, and says why', async () => {
  const page = await browser.page();
  await page.goto(`${server.url}tests/browser/plain.html`);
  const result = await page.evaluate(async (data) => {
    const { BitMar } = await import('/web/bitmar/dist/index.js');
    const picture = { data: new Uint8Array(data), width: 40, height: 40 };
    const [first, second] = await Promise.all([BitMar.load(), BitMar.load()]);
    const texts = (await Promise.all([first, second].map((model) => model.caption(picture)))).map(({ text }) => text);
    await first.memory.write(picture);
    const refused = await second.memory.write(picture).then(() => 'none', (error) => `${error.code}: ${error.message}`);
    const roles = [first, second].map(({ memory }) => memory.storage.role);
    await first.memory.clear();
    first.dispose();
    second.dispose();
    return { texts, refused, roles };
  }, [...PIXELS]);
  await page.close();
  assert.deepEqual(result.texts, [expected.text, expected.text]);
  assert.deepEqual(result.roles, ['writer', 'reader']);
  assert.match(result.refused, /^read_only: .*another model of this page/);
});

test('arrays of another realm: those of a frame', async () => {
  const page = await browser.page();
  await page.goto(`${server.url}tests/browser/plain.html`);
  const text = await page.evaluate(async (data) => {
    const { BitMar } = await import('/web/bitmar/dist/index.js');
    const frame = document.body.appendChild(document.createElement('iframe'));
    const model = await BitMar.load(new frame.contentWindow.URL('/web/bitmar-model/model/', location.href));
    const { text } = await model.caption({ data: new frame.contentWindow.Uint8Array(data), width: 40, height: 40 });
    model.dispose();
    return text;
  }, [...PIXELS]);
  await page.close();
  assert.equal(text, expected.text);
});

// As in Electron: pages are files there, and may read files. Browsers allow a file nothing by default.
test('a page that is a file and may read files: in a worker and without one; a memory that is kept', async (t) => {
  const browser = await launch('--allow-file-access-from-files');
  t.after(() => browser.close());
  const file = (name) => new URL(name, 'file://').href;
  const page = await browser.page();
  for (const worker of [true, false]) {
    await page.goto(file(path('tests/browser/plain.html')));
    const found = await page.evaluate(
      async ({ address, folder, data, worker }) => {
        const { BitMar } = await import(address);
        const model = await BitMar.load(folder, { worker });
        const picture = { data: new Uint8Array(data), width: 40, height: 40 };
        const { text, tokens } = await model.caption(picture);
        const { recognised } = await model.memory.recall({ image: picture });
        await model.memory.teach(picture, 'stripes');
        await model.memory.flush();
        const { storage } = model.memory;
        const { worker: used } = model.info;
        model.dispose();
        return { said: { text, tokens }, used, known: recognised?.label ?? null, storage: storage.role };
      },
      { address: file(path('web/bitmar/dist/index.js')), folder: file(`${path('models/default')}/`), data: [...PIXELS], worker },
    );
    assert.deepEqual(found, { said: expected, used: worker, known: worker ? null : 'stripes', storage: 'writer' });
  }
});
