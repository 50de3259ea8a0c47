import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { BitMar } from 'bitmar';
import { serve } from '../../scripts/serve.mjs';
import { code, MODEL, path, picture, sample, TINY } from './helpers.mjs';

describe('loading', () => {
  test('from a path, a file: URL and http, with the same captions', async () => {
    const server = await serve({ root: TINY });
    try {
      const captions = [];
      for (const address of [TINY, `${TINY}/`, pathToFileURL(TINY), server.url, new URL(server.url)]) {
        const model = await BitMar.load(address);
        captions.push(JSON.stringify((await model.caption(picture(50, 40))).tokens));
        model.dispose();
      }
      assert.equal(new Set(captions).size, 1, captions.join('\n'));
    } finally {
      await server.close();
    }
  });

  test('from files in memory, which stay the caller’s', async () => {
    const text = (name) => readFile(join(TINY, name), 'utf8');
    const weights = await readFile(join(TINY, 'model.safetensors'));
    const copy = Buffer.from(weights);
    const files = {
      config: await text('config.json'),
      tokenizer: await text('tokenizer.json'),
      preprocessor: await text('preprocessor_config.json'),
    };
    const { buffer, byteOffset, byteLength } = weights;
    for (const form of [weights, buffer.slice(byteOffset, byteOffset + byteLength)]) {
      const model = await BitMar.load({ ...files, weights: form });
      await model.caption(picture(20, 20));
      model.dispose();
      assert.equal(form.byteLength, copy.length);
    }
    assert.deepEqual(weights, copy);
  });

  test('tells what it is', async () => {
    const model = await BitMar.load(MODEL);
    const { info } = model;
    const files = ['config.json', 'tokenizer.json', 'preprocessor_config.json', 'model.safetensors'];
    const sizes = await Promise.all(files.map(async (file) => (await stat(join(MODEL, file))).size));
    assert.ok(Math.abs(info.fileBytes - sizes.reduce((a, b) => a + b)) < 100);
    assert.match(info.build, /^(simd|relaxed)$/);
    assert.equal(info.threads, 1);
    assert.match(info.kernels, /simd|relaxed/);
    assert.ok(info.bytes.weights > 1000);
    model.dispose();
  });

  test('keys and values as int8 take a quarter', async () => {
    const sizes = [];
    for (const kvCache of ['float32', 'int8']) {
      const model = await BitMar.load(MODEL, { kvCache });
      sizes.push(model.info.bytes.kvCache);
      assert.notEqual((await model.caption(await sample('cat'))).text, '');
      model.dispose();
    }
    assert.ok(sizes[1] < 0.4 * sizes[0], `${sizes[1]} of ${sizes[0]} bytes`);
    await assert.rejects(BitMar.load(MODEL, { kvCache: 'int4' }), code('invalid_argument'));
  });

  test('progress: bytes of all files, with a total, never backwards', async () => {
    const server = await serve({ root: TINY });
    const seen = [];
    const model = await BitMar.load(server.url, { onProgress: (progress) => seen.push(progress) });
    model.dispose();
    await server.close();
    const last = seen.at(-1);
    assert.equal(last.loaded, last.total);
    assert.ok(last.total > (await stat(join(TINY, 'model.safetensors'))).size);
    seen.reduce((before, now) => (assert.ok(now.loaded >= before.loaded), now));
    assert.ok(seen.some(({ file }) => file.endsWith('model.safetensors')));
  });

  test('a compressed transfer is not mistaken for a short one', async () => {
    const { gzipSync } = await import('node:zlib');
    const server = createServer(async (request, response) => {
      const body = gzipSync(await readFile(join(TINY, request.url)));
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': body.length }).end(body);
    });
    await new Promise((listening) => server.listen(0, listening));
    const seen = [];
    const model = await BitMar.load(`http://localhost:${server.address().port}/`, { onProgress: (progress) => seen.push(progress) });
    assert.ok(seen.every(({ loaded, total }) => total === undefined || loaded <= total));
    model.dispose();
    server.close();
    server.closeAllConnections();
  });

  test('in this thread, without a worker, with the same caption', async () => {
    const here = await BitMar.load(TINY, { worker: false });
    const there = await BitMar.load(TINY);
    const image = picture(64, 64, 3);
    assert.deepEqual((await here.caption(image)).tokens, (await there.caption(image)).tokens);
    here.dispose();
    there.dispose();
    await assert.rejects(here.caption(image), code('disposed'));
  });

  test('node ends by itself when a model was not disposed of', async () => {
    const program = `
      import { BitMar } from 'bitmar';
      const model = await BitMar.load(${JSON.stringify(TINY)});
      await model.caption({ data: new Uint8Array(300), width: 10, height: 10 });`;
    const file = path('tests/node/.exits.tmp.mjs');
    await writeFile(file, program);
    try {
      await promisify(execFile)(process.execPath, [file], { timeout: 120_000 });
    } finally {
      await rm(file);
    }
  });

  test('threads are for browsers: asked for, they are done without', async () => {
    const model = await BitMar.load(TINY, { threads: 4 });
    assert.equal(model.info.threads, 1);
    assert.ok((await model.caption(picture(20, 20))).text);
    model.dispose();
    await assert.rejects(BitMar.load(TINY, { build: 'relaxed-threads' }), code('unsupported_platform'));
    for (const threads of [0, -1, 1.5, 65, NaN, '2', null]) {
      await assert.rejects(BitMar.load(TINY, { threads }), code('invalid_argument'), `${threads}`);
    }
  });

  test('relaxed SIMD is refused where the platform lacks it', async (t) => {
    const relaxed = WebAssembly.validate(
      Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11),
    );
    if (relaxed) return t.skip('this node has relaxed SIMD');
    await assert.rejects(BitMar.load(TINY, { build: 'relaxed' }), code('unsupported_platform'));
  });

  test('the relaxed build, with kernels that this node computes rightly, gives the same caption', async (t) => {
    // node 20 has relaxed SIMD behind a flag, later ones have it without.
    const execute = promisify(execFile);
    const flag = '--experimental-wasm-relaxed-simd';
    const flags = await execute(process.execPath, [flag, '-e', '0']).then(() => [flag], () => []);
    const program = `(async () => {
      const { BitMar } = await import('bitmar');
      const { MODEL, sample } = await import('./tests/node/helpers.mjs');
      const model = await BitMar.load(MODEL, { build: 'relaxed' });
      const { tokens } = await model.caption(await sample('cat'));
      console.log(JSON.stringify({ kernels: model.info.kernels, tokens }));
      model.dispose();
    })()`;
    const { stdout } = await execute(process.execPath, [...flags, '-e', program], { cwd: path('') });
    const { kernels, tokens } = JSON.parse(stdout);
    t.diagnostic(`kernels: ${kernels}`);
    assert.match(kernels, /simd|relaxed/);
    const model = await BitMar.load(MODEL, { build: 'simd' });
    assert.deepEqual(tokens, (await model.caption(await sample('cat'))).tokens);
    model.dispose();
  });
});

describe('loading fails with a typed error', () => {
  let folder;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bitmar-'));
  });
  after(() => rm(folder, { recursive: true }));

  /** A copy of the tiny model, changed. */
  async function changed(change) {
    const copy = await mkdtemp(join(folder, 'model-'));
    for (const file of await readdir(TINY)) {
      if (file !== 'golden.safetensors') await copyFile(join(TINY, file), join(copy, file));
    }
    await change((name) => join(copy, name));
    return copy;
  }

  async function editJson(file, edit) {
    const value = JSON.parse(await readFile(file, 'utf8'));
    edit(value);
    await writeFile(file, JSON.stringify(value));
  }

  async function editEpsilon(file, digits) {
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace(/(?<="rms_norm_eps": )[^,]+/, digits));
  }

  async function editHeader(file, edit) {
    const bytes = await readFile(file);
    const length = Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
    edit(header);
    const text = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    await writeFile(file, Buffer.concat([size, text, bytes.subarray(8 + length)]));
  }

  const cases = [
    ['no such folder', ['missing_file'], () => join(folder, 'nowhere')],
    ...['config.json', 'tokenizer.json', 'preprocessor_config.json', 'model.safetensors'].map((file) => [
      `no ${file}`,
      ['missing_file'],
      () => changed((name) => rm(name(file))),
    ]),
    ['weights cut short', ['invalid_model'], () => changed((name) => truncate(name('model.safetensors'), 20_000))],
    ['weights cut within the header', ['invalid_model'], () => changed((name) => truncate(name('model.safetensors'), 100))],
    ['empty weights', ['invalid_model'], () => changed((name) => truncate(name('model.safetensors'), 0))],
    ['a page instead of config.json', ['invalid_model'], () => changed((name) => writeFile(name('config.json'), '<!doctype html>\n<html>'))],
    ['a page instead of the weights', ['invalid_model'], () => changed((name) => writeFile(name('model.safetensors'), '<!doctype html>\n<html>'))],
    ['config.json that is no JSON', ['invalid_config'], () => changed((name) => writeFile(name('config.json'), '{"model_type": '))],
    ['an empty config', ['invalid_config'], () => changed((name) => writeFile(name('config.json'), '{}'))],
    ['a width that the weights do not have', ['invalid_config', 'invalid_model'], () => changed((name) => editJson(name('config.json'), (config) => (config.hidden_size *= 2)))],
    ['a negative width', ['invalid_config'], () => changed((name) => editJson(name('config.json'), (config) => (config.hidden_size = -4)))],
    ['no heads', ['invalid_config'], () => changed((name) => editJson(name('config.json'), (config) => (config.decoder.num_heads = 0)))],
    ['a number beyond all', ['invalid_config'], () => changed((name) => editEpsilon(name('config.json'), '1e999'))],
    ['a number out of its range', ['invalid_config'], () => changed((name) => editEpsilon(name('config.json'), '1e-13'))],
    ['a newer format', ['invalid_config'], () => changed((name) => editJson(name('config.json'), (config) => (config.format_version = 99)))],
    ['a tokenizer that is no JSON', ['invalid_model', 'invalid_config'], () => changed((name) => writeFile(name('tokenizer.json'), 'hello'))],
    ['an unknown tensor type', ['unsupported_tensor_type'], () => changed((name) => editHeader(name('model.safetensors'), (header) => (header['embedding.weight'].dtype = 'F8_E4M3')))],
    ['a missing tensor', ['invalid_model'], () => changed((name) => editHeader(name('model.safetensors'), (header) => delete header['embedding.weight']))],
  ];
  for (const [what, codes, make] of cases) {
    test(what, async () => {
      await assert.rejects(BitMar.load(await make()), code(...codes));
    });
  }

  test('an error in a JSON file says what was read there', async () => {
    const path = await changed((name) => writeFile(name('config.json'), '{"model_type": "b\x01itmar"}'));
    await assert.rejects(BitMar.load(path), (error) => error.code === 'invalid_config' && error.message.includes('"b<U+0001>'));
  });

  test('a number in another notation is the same number', async () => {
    const eps = JSON.parse(await readFile(join(TINY, 'config.json'), 'utf8')).rms_norm_eps;
    const same = await changed((name) => editEpsilon(name('config.json'), `${(eps * 1e8).toFixed(3)}E-8`));
    const [one, other] = [await BitMar.load(TINY), await BitMar.load(same)];
    const image = picture(32, 32, 3);
    assert.equal((await other.caption(image)).logProbability, (await one.caption(image)).logProbability);
    one.dispose();
    other.dispose();
  });

  test('a server that answers 404, 500, half a file, or nothing at all', async () => {
    let answer;
    const server = createServer((request, response) => answer(request, response));
    await new Promise((listening) => server.listen(0, listening));
    const url = `http://localhost:${server.address().port}/`;
    answer = (_, response) => response.writeHead(404).end();
    await assert.rejects(BitMar.load(url), code('missing_file'));
    answer = (_, response) => response.writeHead(500).end();
    await assert.rejects(BitMar.load(url), code('network'));
    answer = (_, response) => response.writeHead(200, { 'content-length': 1000 }).write('{"half', () => response.destroy());
    await assert.rejects(BitMar.load(url), code('network'));
    server.close();
    server.closeAllConnections();
    await assert.rejects(BitMar.load(url), code('network'));
  });

  test('abort, before and during the download', async () => {
    await assert.rejects(BitMar.load(TINY, { signal: AbortSignal.abort() }), code('aborted'));
    const server = createServer((_, response) => response.writeHead(200, { 'content-length': 1000 }).write('{')); // never ends
    await new Promise((listening) => server.listen(0, listening));
    const controller = new AbortController();
    const loading = BitMar.load(`http://localhost:${server.address().port}/`, { signal: controller.signal, onProgress: () => controller.abort() });
    await assert.rejects(loading, code('aborted'));
    server.close();
    server.closeAllConnections();
  });

  test('a worker that cannot start', async () => {
    await assert.rejects(BitMar.load(TINY, { workerUrl: pathToFileURL(join(folder, 'none.js')) }), code('worker_failed'));
  });

  test('a worker that dies', async () => {
    const worker = join(folder, 'dies.mjs');
    await writeFile(worker, "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(3));");
    await assert.rejects(BitMar.load(TINY, { workerUrl: pathToFileURL(worker) }), code('worker_failed'));
  });

  test('the wasm is missing, or is something else', async () => {
    await assert.rejects(BitMar.load(TINY, { wasmUrl: pathToFileURL(join(folder, 'none.wasm')) }), code('missing_file'));
    const wasmUrl = pathToFileURL(join(TINY, 'config.json'));
    await assert.rejects(BitMar.load(TINY, { wasmUrl }), code('missing_file'));
  });
});

test('a sample photo, by the trained model', async () => {
  const model = await BitMar.load(MODEL);
  const { text } = await model.caption(await sample('cat'));
  assert.match(text, /^[a-z]+( [a-z',.-]+)+$/);
  model.dispose();
});
