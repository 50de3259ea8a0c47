// What only looks like what it should be: signals, options and pictures whose getters throw, model files that are pipes or
// devices, downloads that unpack to more than was announced. Each is refused in the API's words, and the model goes on.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { brotliCompressSync } from 'node:zlib';

import { BitMar } from 'bitmar';
import { code, picture, TINY } from './helpers.mjs';

const image = picture(20, 20);
const throwing = () => {
  throw new Error('of the caller');
};
/** The outcome, or 'hangs'. */
const outcome = (promise, ms = 60_000) =>
  Promise.race([
    promise.then(() => 'ok', (error) => error.code ?? `no typed error: ${error}`),
    new Promise((resolve) => setTimeout(resolve, ms, 'hangs').unref()),
  ]);

test('addresses that are none, or not of a kind that node knows', async () => {
  const bad = ['data:,x', 'data:', 'file://host/x', 'file:///a%2Fb', 'http://[', 'data:,%E0%A4%A'];
  for (const model of bad) assert.match(await outcome(BitMar.load(model)), /^(invalid_argument|missing_file)$/, model);
  for (const weights of [...bad, 'data:;base64,!!!']) {
    const files = { config: `${TINY}/config.json`, tokenizer: `${TINY}/tokenizer.json`, preprocessor: `${TINY}/preprocessor_config.json`, weights };
    assert.match(await outcome(BitMar.load(files)), /^(invalid_argument|missing_file|invalid_model)$/, weights);
  }
  for (const wasmUrl of [...bad, Object.create(null), 5, '/no/such/file.wasm']) assert.match(await outcome(BitMar.load(TINY, { wasmUrl })), /^(invalid_argument|missing_file)$/);
  for (const workerUrl of ['http://localhost/worker.js', 'blob:null/5', 'file://host/x', Object.create(null)]) {
    assert.match(await outcome(BitMar.load(TINY, { workerUrl })), /^(invalid_argument|worker_failed)$/);
  }
});

describe('callbacks and listeners that throw what is no error, or later, or in another realm', () => {
  const foreign = runInNewContext('async () => { throw new Error("foreign") }');
  let warnings;
  const warn = ({ name, message }) => name === 'BitMarWarning' && warnings.push(message);
  beforeEach(() => ((warnings = []), process.on('warning', warn)));
  afterEach(() => process.off('warning', warn));

  test('end their own call', async () => {
    const later = async () => throwing();
    const model = await BitMar.load(TINY);
    const all = async (onToken) => {
      for await (const piece of model.stream(image, { onToken, maxTokens: 20 })) void piece;
    };
    for (const onToken of [later, foreign]) {
      assert.match(await outcome(all(onToken)), /of the caller|foreign/);
      assert.match(await outcome(model.caption(image, { onToken })), /of the caller|foreign/);
    }
    for (const onProgress of [later, foreign]) assert.match(await outcome(BitMar.load(TINY, { onProgress })), /of the caller|foreign/);
    assert.equal(await outcome(model.caption(image)), 'ok');
    model.dispose();
  });

  test('or are reported, whatever it is', async () => {
    const model = await BitMar.load(TINY);
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const odd = [Object.create(null), Object.assign(new Error('odd'), { stack: 5 }), proxy, null, undefined];
    const listeners = [...odd.map((value) => () => { throw value; }), ...odd.map((value) => async () => { throw value; }), foreign];
    for (const listener of listeners) model.memory.addEventListener('change', listener);
    await model.memory.teach(image, 'a name');
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(warnings.length, listeners.length, warnings.join());
    assert.equal(await outcome(model.caption(image)), 'ok');
    model.dispose();
  });
});

describe('signals that only look like some', () => {
  const real = (changes) => {
    const controller = new AbortController();
    Object.defineProperties(controller.signal, changes);
    return controller;
  };
  let looks;
  const signals = {
    'no removeEventListener': [() => ({ aborted: false, addEventListener() {} }), 'invalid_argument'],
    'no addEventListener': [() => ({ aborted: false, removeEventListener() {} }), 'invalid_argument'],
    'calls back at once': [() => ({ aborted: false, addEventListener: (_, listener) => listener(), removeEventListener() {} }), 'aborted'],
    'removeEventListener throws': [() => ({ aborted: false, addEventListener() {}, removeEventListener: throwing }), 'ok'],
    'addEventListener throws': [() => ({ aborted: false, addEventListener: throwing, removeEventListener() {} }), 'invalid_argument'],
    'aborted throws': [() => ({ get aborted() { return throwing(); }, addEventListener() {}, removeEventListener() {} }), 'invalid_argument'],
    'aborted throws later': [() => ({ get aborted() { looks += 1; return looks > 3 ? throwing() : false; }, addEventListener() {}, removeEventListener() {} }), 'invalid_argument', 'ok'],
    'reason throws': [() => { const c = real({ reason: { get: throwing } }); setTimeout(() => c.abort(), 1); return c.signal; }, 'aborted', 'ok'],
    'a proxy that throws': [() => new Proxy({}, { get: throwing }), 'invalid_argument'],
  };
  const slow = { maxTokens: 100000, temperature: 1000 };
  for (const worker of [true, false]) {
    for (const [name, [make, ...expected]] of Object.entries(signals)) {
      test(`${name}, ${worker ? 'with' : 'without'} a worker`, async () => {
        looks = 0;
        const model = await BitMar.load(TINY, { worker });
        const found = await outcome(model.caption(image, { ...(name === 'reason throws' ? slow : { maxTokens: 2 }), signal: make() }));
        assert.ok(expected.includes(found), `${found}, not ${expected}`);
        assert.equal(await outcome(model.caption(image, { maxTokens: 2 })), 'ok', 'the next call');
        model.dispose();
      });
    }
  }
  test('while a model loads', async () => {
    for (const [name, [make, ...expected]] of Object.entries(signals)) {
      looks = 0;
      const found = await outcome(BitMar.load(TINY, { worker: false, signal: make() }));
      assert.ok([...expected, 'ok'].includes(found), `${name}: ${found}`);
    }
  });
});

describe('objects whose getters throw', () => {
  let model;
  before(async () => (model = await BitMar.load(TINY, { worker: false })));
  after(() => model.dispose());
  const hostile = new Proxy({}, { get: throwing });
  const getter = (name) => ({ get [name]() { return throwing(); } });
  const calls = {
    'options of caption': () => model.caption(image, hostile),
    'prompt': () => model.caption(image, getter('prompt')),
    'numBeams': () => model.caption(image, getter('numBeams')),
    'options of ask': () => model.ask(image, 'what?', getter('numBeams')),
    'options of load': () => BitMar.load(TINY, getter('kvCache')),
    'a picture': () => model.caption(new Proxy({}, { get: throwing, has: () => true })),
    'a class': () => model.caption(new Proxy({}, { get: throwing })),
    'files of a model': () => BitMar.load(hostile),
    'a number that throws': () => model.caption(image, { seed: { valueOf: throwing } }),
    'an object without a prototype': () => model.caption(image, { prompt: Object.create(null) }),
  };
  for (const [name, call] of Object.entries(calls)) test(name, () => assert.rejects(Promise.resolve().then(call), code('invalid_argument')));
  for (const side of [Symbol('x'), {}, [], null, '2', 1n, Object.create(null)]) {
    test(`a width that is ${typeof side}`, () => assert.rejects(model.caption({ data: new Uint8Array(12), width: side, height: 2 }), code('invalid_image')));
  }
});

describe('files that only look like some', () => {
  let folder;
  before(async () => (folder = await mkdtemp(join(tmpdir(), 'bitmar-lookalikes-'))));
  after(() => rm(folder, { recursive: true }));
  const make = {
    'a pipe': (path) => execFileSync('mkfifo', [path]),
    'a device that never ends': (path) => symlink('/dev/zero', path),
    'a device that is empty': (path) => symlink('/dev/null', path),
    'a folder': (path) => mkdir(path),
  };
  for (const [name, put] of Object.entries(make)) {
    for (const file of ['config.json', 'model.safetensors']) {
      test(`${file} is ${name}`, { skip: process.platform === 'win32' }, async () => {
        const model = await mkdtemp(join(folder, 'model-'));
        for (const each of ['config.json', 'tokenizer.json', 'preprocessor_config.json', 'model.safetensors']) {
          await (each === file ? put(join(model, each)) : copyFile(join(TINY, each), join(model, each)));
        }
        assert.equal(await outcome(BitMar.load(model, { worker: false })), 'missing_file');
      });
    }
  }

  for (const announced of [true, false]) {
    test(`a download that unpacks to 512 times its bytes, ${announced ? 'announced' : 'not announced'}`, async () => {
      const bomb = brotliCompressSync(Buffer.alloc(64 << 20, 32));
      const sent = [];
      const server = createServer(async (request, response) => {
        const file = request.url.split('/').pop();
        if (file !== 'config.json') return response.end(await readFile(join(TINY, file)));
        response.writeHead(200, { 'content-encoding': 'br', ...(announced ? { 'content-length': bomb.length } : {}) });
        response.end(bomb);
      });
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
      const onProgress = ({ file, loaded }) => file === 'config.json' && sent.push(loaded);
      assert.equal(await outcome(BitMar.load(`http://127.0.0.1:${server.address().port}/`, { worker: false, onProgress })), 'invalid_config');
      assert.ok(sent.length < 200, `${sent.length} pieces were taken`);
      server.closeAllConnections();
      server.close();
    });
  }

  test("a photo's file of more bytes than photos have", async () => {
    const model = await BitMar.load(TINY, { worker: false });
    let read = false;
    class Huge extends Blob {
      get size() { return 97 << 20; }
      arrayBuffer() { read = true; return super.arrayBuffer(); }
    }
    assert.equal(await outcome(model.caption(new Huge())), 'image_too_large');
    assert.equal(read, false);
    model.dispose();
  });
});
