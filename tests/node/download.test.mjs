// How a model's files come: from servers that stall, break off, want a token, or answer with a page; by a fetch and headers of one's own; checked by SHA-256.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { BitMar } from 'bitmar';
import { code, picture, TINY } from './helpers.mjs';

const FILES = ['config.json', 'tokenizer.json', 'preprocessor_config.json', 'model.safetensors'];
const PAGE = '<!doctype html>\n<html><title>My app</title></html>';
const says = (pattern, ...codes) => (error) => code(...codes)(error) && (assert.match(error.message, pattern), true);

/** A server of the tiny model's files. `answer(file, bytes, request, response)` answers, or returns true for the plain answer. */
async function site(t, answer = () => true) {
  const asked = [];
  const server = createServer(async (request, response) => {
    const file = new URL(request.url, 'http://localhost').pathname.slice(1);
    const { range, 'if-range': version } = request.headers;
    asked.push({ file, url: request.url, range, version, headers: request.headers });
    const bytes = await readFile(join(TINY, file)).catch(() => undefined);
    if ((await answer(file, bytes, request, response)) !== true) return;
    if (bytes) response.end(bytes);
    else response.writeHead(404).end();
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => (server.close(), server.closeAllConnections()));
  return { url: `http://127.0.0.1:${server.address().port}/`, asked };
}

async function works(model) {
  assert.ok((await model.caption(picture(20, 20), { maxTokens: 2 })).tokens.length);
  model.dispose();
}

describe('a web page in the place of a file is named for what it is', () => {
  for (const file of FILES) {
    test(file, async (t) => {
      const { url } = await site(t, (asked, _, __, response) => (asked === file ? void response.end(PAGE) : true));
      await assert.rejects(BitMar.load(url), says(new RegExp(`${file} is a web page`), 'invalid_model'));
    });
  }
  test('the wasm, and what is no wasm either', async (t) => {
    const { url } = await site(t, (file, _, __, response) => (file === 'spa.wasm' ? void response.end(PAGE) : true));
    await assert.rejects(BitMar.load(TINY, { wasmUrl: `${url}spa.wasm` }), says(/spa\.wasm is a web page, not WebAssembly/, 'missing_file'));
    await assert.rejects(BitMar.load(TINY, { wasmUrl: `${url}config.json` }), says(/config\.json is something else, not WebAssembly/, 'missing_file'));
  });
});

describe('a stalled server', () => {
  const LATE = 60_000; // an answer by then is no answer
  const within = (promise) => Promise.race([promise, new Promise((resolve) => setTimeout(resolve, LATE, 'hangs').unref())]);
  test('one that never answers', async (t) => {
    const { url } = await site(t, (file) => (file === 'tokenizer.json' ? undefined : true));
    await assert.rejects(within(BitMar.load(url, { timeout: 2000 })), says(/tokenizer\.json: nothing has come for 2000 ms/, 'network'));
  });
  test('one that stops in the middle', async (t) => {
    const { url } = await site(t, (file, bytes, _, response) => (file === 'model.safetensors' ? void response.write(bytes.subarray(0, 1000)) : true));
    await assert.rejects(within(BitMar.load(url, { timeout: 2000 })), says(/model\.safetensors: nothing has come/, 'network'));
  });
  test('a fetch of one’s own that heeds no signal', async () => {
    const fetch = () => new Promise(() => {});
    await assert.rejects(within(BitMar.load('http://localhost/', { timeout: 100, fetch })), code('network'));
    await assert.rejects(within(BitMar.load('http://localhost/', { signal: AbortSignal.timeout(100), fetch })), code('aborted'));
  });
  test('a slow one is no stalled one', async (t) => {
    const { url } = await site(t, async (file, bytes, _, response) => {
      if (file !== 'config.json') return true;
      for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 8)) {
        response.write(bytes.subarray(at, at + Math.ceil(bytes.length / 8)));
        await new Promise((resolve) => setTimeout(resolve, 400));
      }
      response.end();
    });
    await works(await BitMar.load(url, { timeout: 3000 })); // in 3200
  });
});

describe('a transfer that breaks off', () => {
  /** Breaks off each answer about the weights but the fourth, after a quarter; `headers` are those of all of them. */
  const breaking = (headers, ranges) => {
    let answers = 0;
    return (file, bytes, request, response) => {
      if (file !== 'model.safetensors') return true;
      const wanted = ranges && Number(/^bytes=(\d+)-$/.exec(request.headers.range)?.[1] ?? 0);
      const rest = bytes.subarray(wanted || 0);
      response.writeHead(wanted ? 206 : 200, { ...headers, 'content-length': rest.length, ...(wanted && { 'content-range': `bytes ${wanted}-${bytes.length - 1}/${bytes.length}` }) });
      if ((answers += 1) === 4) response.end(rest);
      else response.write(rest.subarray(0, bytes.length >> 2), () => setTimeout(() => response.destroy(), 20));
    };
  };
  const weights = (asked) => asked.filter(({ file }) => file === 'model.safetensors');

  test('is taken up where it ended, if the file is still the same', async (t) => {
    const { url, asked } = await site(t, breaking({ etag: '"v1"' }, true));
    const seen = [];
    await works(await BitMar.load(url, { onProgress: ({ loaded, total }) => seen.push({ loaded, total }) }));
    const [first, ...others] = weights(asked);
    assert.equal(first.range, undefined);
    assert.equal(others.length, 3);
    for (const { range, version } of others) assert.deepEqual([/^bytes=[1-9]\d*-$/.test(range), version], [true, '"v1"']);
    seen.reduce((before, now) => (assert.ok(now.loaded >= before.loaded), now));
    assert.equal(seen.at(-1).loaded, seen.at(-1).total);
  });

  test('begins again where the server knows no parts, or nothing names the version', async (t) => {
    for (const headers of [{ etag: '"v1"' }, { etag: 'W/"v1"' }, {}]) {
      const { url, asked } = await site(t, breaking(headers, false));
      await works(await BitMar.load(url));
      assert.equal(weights(asked).length, 4);
      assert.ok('etag' in headers && headers.etag === '"v1"' ? weights(asked)[1].range : !weights(asked)[1].range);
    }
  });

  test('a compressed one begins again', async (t) => {
    let answers = 0;
    const { url, asked } = await site(t, (file, bytes, _, response) => {
      if (file !== 'model.safetensors') return true;
      const packed = gzipSync(bytes);
      response.writeHead(200, { etag: '"v1"', 'content-encoding': 'gzip', 'content-length': packed.length });
      if ((answers += 1) === 2) response.end(packed);
      else response.write(packed.subarray(0, packed.length >> 1), () => setTimeout(() => response.destroy(), 20));
    });
    await works(await BitMar.load(url));
    assert.deepEqual(weights(asked).map(({ range }) => range), [undefined, undefined]);
  });

  test('again and again: an error, at last', async (t) => {
    const { url, asked } = await site(t, (file, _, __, response) => {
      if (file !== 'config.json') return true;
      response.writeHead(200, { 'content-length': 1000 }).write('{"half', () => response.destroy());
    });
    await assert.rejects(BitMar.load(url), says(/config\.json broke off/, 'network'));
    assert.ok(asked.filter(({ file }) => file === 'config.json').length > 1);
  });

  test('a file that has changed meanwhile begins again', async (t) => {
    let answers = 0;
    const { url, asked } = await site(t, (file, bytes, _, response) => {
      if (file !== 'model.safetensors') return true;
      answers += 1;
      response.writeHead(200, { etag: `"v${answers}"`, 'content-length': bytes.length }); // another etag: all of it, whatever was asked for
      if (answers === 1) response.write(Buffer.alloc(bytes.length >> 1, 7), () => setTimeout(() => response.destroy(), 20));
      else response.end(bytes);
    });
    await works(await BitMar.load(url));
    assert.equal(weights(asked)[1].version, '"v1"');
  });
});

test('the query of the model’s address holds for its files', async (t) => {
  const { url, asked } = await site(t, (_, __, request, response) => (new URL(request.url, 'http://localhost').search === '?token=a%20b' ? true : void response.writeHead(403).end()));
  for (const address of [`${url}?token=a%20b`, new URL('?token=a%20b#part', url)]) await works(await BitMar.load(address));
  assert.equal(asked.length, 8);
  await assert.rejects(BitMar.load(url), code('network'));
});

test('headers and a fetch of one’s own', async (t) => {
  const { url, asked } = await site(t, (_, __, { headers }, response) => (headers.authorization === 'Bearer x' ? true : void response.writeHead(401).end()));
  await assert.rejects(BitMar.load(url), code('network'));
  for (const headers of [{ authorization: 'Bearer x' }, new Headers({ authorization: 'Bearer x' })]) await works(await BitMar.load(url, { headers }));
  asked.length = 0;
  const fetched = [];
  const own = (address, init) => (fetched.push(String(address)), fetch(String(address).replace('http://models.invalid/', url), { ...init, headers: { authorization: 'Bearer x' } }));
  await works(await BitMar.load('http://models.invalid/', { fetch: own }));
  assert.deepEqual(fetched.sort(), FILES.map((file) => `http://models.invalid/${file}`).sort());
  // Not to the package's own file, which may lie with strangers.
  await site(t, () => true).then(async (cdn) => {
    await assert.rejects(BitMar.load(url, { headers: { authorization: 'Bearer x' }, wasmUrl: `${cdn.url}none.wasm` }), code('missing_file'));
    assert.equal(cdn.asked[0].headers.authorization, undefined);
  });
});

test('wrong arguments', async () => {
  for (const options of [
    { timeout: -1 }, { timeout: '5' }, { timeout: NaN }, { timeout: 2 ** 31 }, { fetch: 'fetch' }, { fetch: {} }, { headers: 'x' }, { headers: 7 },
    { headers: { 'no name': 'x' } }, { headers: { a: 'x\ny' } }, { cache: 'yes' }, { cache: 1 },
  ]) {
    await assert.rejects(BitMar.load(TINY, options), code('invalid_argument'), JSON.stringify(options));
  }
  await works(await BitMar.load(TINY, { timeout: null, fetch: null, headers: null, cache: null }));
});

describe('SHA-256', () => {
  const sum = (bytes) => createHash('sha256').update(bytes).digest('hex');
  const parts = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', weights: 'model.safetensors' };
  const sums = async () => Object.fromEntries(await Promise.all(Object.entries(parts).map(async ([part, file]) => [part, sum(await readFile(join(TINY, file)))])));

  test('a file that is another one is asked for anew, then refused', async (t) => {
    const sha256 = await sums();
    let answers = 0;
    const { url } = await site(t, (file, bytes, _, response) => {
      if (file !== 'tokenizer.json' || (answers += 1) > 1) return true;
      response.end(Buffer.concat([bytes, Buffer.from(' ')])); // once
    });
    const addresses = Object.fromEntries(Object.entries(parts).map(([part, file]) => [part, url + file]));
    await works(await BitMar.load({ ...addresses, sha256 }));
    assert.equal(answers, 2);
    await works(await BitMar.load({ ...addresses, sha256: { ...sha256, weights: sha256.weights.toUpperCase() } }));
    await assert.rejects(BitMar.load({ ...addresses, sha256: { ...sha256, config: sha256.weights } }), says(/config\.json is not the file/, 'invalid_model'));
    for (const wrong of ['x', {}, { ...sha256, config: 'abc' }, { ...sha256, weights: 7 }]) {
      await assert.rejects(BitMar.load({ ...addresses, sha256: wrong }), code('invalid_argument'));
    }
  });

  test('of a folder: its manifest.json, where that is asked for', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bitmar-manifest-'));
    t.after(() => rm(folder, { recursive: true }));
    for (const file of FILES) await copyFile(join(TINY, file), join(folder, file));
    await works(await BitMar.load(folder));
    await assert.rejects(BitMar.load(folder, { cache: true }), says(/manifest\.json/, 'missing_file'));
    const sha256 = await sums();
    const manifest = (files) => writeFile(join(folder, 'manifest.json'), JSON.stringify(files));
    await manifest({ files: Object.fromEntries(Object.entries(parts).map(([part, file]) => [file, sha256[part]])) });
    await works(await BitMar.load(folder, { cache: true }));
    await writeFile(join(folder, 'config.json'), `${await readFile(join(TINY, 'config.json'), 'utf8')} `);
    await assert.rejects(BitMar.load(folder, { cache: true }), code('invalid_model'));
    for (const wrong of ['x', null, {}, { files: { 'config.json': 'abc' } }]) {
      await manifest(wrong);
      await assert.rejects(BitMar.load(folder, { cache: true }), says(/manifest\.json is no manifest/, 'invalid_model'));
    }
    await works(await BitMar.load(folder));
  });
});
