// Files as pictures: their bytes, a Response, a URL; many pictures in a row; where pictures and texts lie in the memory's space.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { BitMar } from 'bitmar';
import { code, path, picture, png, sample, TINY } from './helpers.mjs';

const CAT = path('web/demo/public/samples/cat.jpg');
let model, bytes, server, url;
before(async () => {
  model = await BitMar.load(TINY);
  bytes = await readFile(CAT);
  server = createServer((request, response) => {
    if (request.url === '/cat.jpg?size=1') return response.end(bytes);
    if (request.url === '/page') return response.end('<!doctype html><html></html>');
    if (request.url === '/huge') return response.writeHead(200, { 'content-length': 97 << 20 }).write('x');
    if (request.url !== '/never') response.writeHead(request.url === '/500' ? 500 : 404).end();
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  url = `http://127.0.0.1:${server.address().port}/`;
});
after(() => {
  model.dispose();
  server.close();
  server.closeAllConnections();
});
const few = { maxTokens: 4 };
const detached = () => {
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
};

describe('a file', () => {
  test('as bytes, a Response or a URL: the caption of the Blob', async () => {
    const { tokens } = await model.caption(await sample('cat'), few);
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    const sources = {
      Buffer: bytes,
      Uint8Array: new Uint8Array(buffer),
      ArrayBuffer: buffer,
      Response: await fetch(`${url}cat.jpg?size=1`),
      'own Response': new Response(bytes),
      URL: new URL('cat.jpg?size=1', url),
      'file: URL': pathToFileURL(CAT),
      'data: URL': new URL(`data:image/jpeg;base64,${bytes.toString('base64')}`),
    };
    for (const [name, source] of Object.entries(sources)) assert.deepEqual((await model.caption(source, few)).tokens, tokens, name);
    assert.ok(buffer.byteLength && bytes.length, 'they are still the caller’s');
  });

  test('every method takes one, as it is at the moment of the call', async () => {
    const copy = new Uint8Array(bytes);
    const captioning = model.caption(copy, few);
    copy.fill(0);
    assert.deepEqual((await captioning).tokens, (await model.caption(bytes, few)).tokens);
    const address = new URL('cat.jpg?size=1', url);
    assert.equal(typeof (await model.ask(address, 'what is it?')).answer, 'string');
    assert.ok((await model.memory.teach(address, 'the cat')).id);
    assert.ok((await model.memory.recall({ image: address })).matches.length);
    await model.memory.clear();
  });

  test('what is wrong with it is said', async () => {
    const read = new Response(bytes);
    await read.arrayBuffer();
    for (const [source, ...codes] of [
      [new URL('nowhere.jpg', url), 'missing_file'],
      [new URL('500', url), 'network'],
      [new URL('http://localhost:1/'), 'network'],
      [pathToFileURL(path('nowhere.jpg')), 'missing_file'],
      [pathToFileURL(path('src')), 'missing_file'],
      [new URL('huge', url), 'image_too_large'],
      [new URL('page', url), 'invalid_image', 'unsupported_image'],
      [new Response('', { status: 404 }), 'missing_file'],
      [new Response('', { status: 503 }), 'network'],
      [read, 'invalid_argument'],
      [detached(), 'invalid_argument'],
      [new Uint8Array(0), 'invalid_image', 'unsupported_image'],
      [new Uint8Array(300), 'invalid_image', 'unsupported_image'],
      ['cat.jpg', 'invalid_argument'],
      [[1, 2], 'invalid_argument'],
    ]) {
      await assert.rejects(model.caption(source, few), code(...codes), String(source));
    }
    assert.ok((await model.caption(picture(9, 9), few)).tokens);
  });

  test('a signal ends the download', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    await assert.rejects(model.caption(new URL('never', url), { signal: controller.signal }), code('aborted'));
  });
});

describe('captionAll', () => {
  const collect = async (sources, options) => {
    const found = [];
    for await (const each of model.captionAll(sources, options)) found.push(each);
    return found;
  };

  test('the captions of each, in their order, and errors where they belong', async () => {
    const sources = [picture(20, 20), new Uint8Array(9), picture(30, 20, 5), null, new URL('nowhere', url), bytes];
    const found = await collect(sources, few);
    assert.deepEqual(found.map(({ index, source }) => [index, source]), sources.map((source, i) => [i, source]));
    assert.deepEqual(found.map(({ error }) => error?.code), [undefined, found[1].error?.code, undefined, 'invalid_argument', 'missing_file', undefined]);
    assert.match(found[1].error.code, /_image$/);
    for (const [i, { caption }] of found.entries()) if (caption) assert.deepEqual(caption.tokens, (await model.caption(sources[i], few)).tokens);
    assert.ok(found[0].caption && found[2].caption && found[5].caption && !found[1].caption);
  });

  test('takes no more than it needs, from whatever can be iterated', async () => {
    let taken = 0;
    let ended = false;
    async function* endless() {
      try {
        for (;;) yield picture(20, 20, (taken += 1));
      } finally {
        ended = true;
      }
    }
    for await (const { index } of model.captionAll(endless(), few)) if (index === 3) break;
    assert.ok(taken <= 6, `${taken} taken`);
    assert.equal(ended, true);
    assert.deepEqual(await collect([]), []);
    assert.equal((await collect(new Set([picture(9, 9)]), few)).length, 1);
  });

  test('ends with what would happen to all', async () => {
    const images = [picture(20, 20), picture(20, 20, 2)];
    for (const [args, expected] of [
      [[images, { numBeams: 0 }], 'invalid_argument'], [[images, { signal: {} }], 'invalid_argument'], [[images, null], 'invalid_argument'],
      [[null], 'invalid_argument'], [[7], 'invalid_argument'], [[{}], 'invalid_argument'], [[images, { signal: AbortSignal.abort() }], 'aborted'],
    ]) {
      await assert.rejects(collect(...args), code(expected));
    }
    const controller = new AbortController();
    const seen = [];
    await assert.rejects(async () => {
      for await (const { index } of model.captionAll(Array(9).fill(images[0]), { ...few, signal: controller.signal })) seen.push(index), controller.abort();
    }, code('aborted'));
    assert.deepEqual(seen, [0]);
    const own = new Error('of the caller');
    await assert.rejects(collect(images, { onToken: () => { throw own; } }), (error) => error === own);
    const other = await BitMar.load(TINY);
    other.dispose();
    await assert.rejects(other.captionAll(images).next(), code('disposed'));
    assert.ok((await model.caption(images[0], few)).tokens);
  });
});

describe('embed', () => {
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

  test('unit vectors, in which recall’s similarities are dot products', async () => {
    const [image, other] = [picture(30, 30, 2), picture(30, 30, 7)];
    const [a, b, text, both] = await Promise.all([{ image }, { image: other }, { text: 'a dog' }, { image, text: 'a dog' }].map((what) => model.embed(what)));
    const { width } = await model.memory.stats();
    for (const vector of [a, b, text, both]) {
      assert.ok(vector instanceof Float32Array);
      assert.equal(vector.length, width);
      assert.ok(Math.abs(dot(vector, vector) - 1) < 1e-5);
    }
    assert.notDeepEqual(a, b);
    assert.notDeepEqual(a, both);
    assert.deepEqual(await model.embed({ image }), a);
    assert.deepEqual(await model.embed({ image: new Blob([png(image)]) }), a);
    await model.memory.write(image, few);
    const [{ similarity }] = (await model.memory.recall({ text: 'a dog' })).matches;
    assert.ok(Math.abs(similarity - dot(text, await model.embed({ image }))) < 0.05, `${similarity}, ${dot(text, a)}`);
    await model.memory.clear();
  });

  test('leaves the memory as it is, in this thread too', async () => {
    const fresh = await BitMar.load(TINY, { worker: false });
    assert.deepEqual(await fresh.embed({ text: 'a dog' }), await model.embed({ text: 'a dog' }));
    assert.equal(fresh.memory.opened, false);
    fresh.dispose();
    await assert.rejects(fresh.embed({ text: 'a dog' }), code('disposed'));
  });

  test('wrong arguments', async () => {
    for (const [what, ...codes] of [
      [undefined, 'invalid_argument'], [null, 'invalid_argument'], [{}, 'invalid_argument'], ['a dog', 'invalid_argument'], [{ text: 7 }, 'invalid_argument'],
      [{ text: '' }, 'invalid_argument'], [{ image: 'cat.jpg' }, 'invalid_argument'], [{ image: picture(9, 9), text: 7 }, 'invalid_argument'],
      [{ text: '\ud800' }, 'invalid_text'], [{ text: 'a'.repeat(70000) }, 'text_too_long'], [{ text: 'a', signal: {} }, 'invalid_argument'],
      [{ text: 'a', signal: AbortSignal.abort() }, 'aborted'],
    ]) {
      await assert.rejects(model.embed(what), code(...codes), JSON.stringify(what));
    }
  });
});

test('Symbol.dispose ends a model', async () => {
  const other = await BitMar.load(TINY);
  assert.equal(typeof other[Symbol.dispose], 'function');
  other[Symbol.dispose]();
  await assert.rejects(other.caption(picture(9, 9)), code('disposed'));
});
