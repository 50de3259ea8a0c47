// scripts/serve.mjs: what browsers keep, and what they are told when they ask again.
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { serve } from '../../scripts/serve.mjs';
import { path } from './helpers.mjs';

let root, server;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'bitmar-serve-'));
  await cp(path('web/demo/public/_headers'), join(root, '_headers'));
  for (const folder of ['assets', 'model/0123']) await mkdir(join(root, folder), { recursive: true });
  for (const name of ['index.html', 'assets/index-Ab12.js', 'model/0123/model.safetensors']) await writeFile(join(root, name), `this is ${name}`);
  server = await serve({ root });
});
after(async () => {
  await server.close();
  await rm(root, { recursive: true });
});

const get = (name, headers = {}, method = 'GET') => fetch(new URL(name, server.url), { headers, method });

test('what has a hash in its address is kept for a year, all else asked for again', async () => {
  for (const name of ['assets/index-Ab12.js', 'model/0123/model.safetensors']) {
    assert.equal((await get(name)).headers.get('cache-control'), 'public, max-age=31536000, immutable', name);
  }
  for (const name of ['', 'index.html']) assert.equal((await get(name)).headers.get('cache-control'), 'no-cache', name);
});

test('a file that the browser has is not sent again: 304, with the headers and without a body', async () => {
  const { headers } = await get('assets/index-Ab12.js');
  const [etag, modified] = [headers.get('etag'), headers.get('last-modified')];
  const later = new Date(Date.parse(modified) + 60_000).toUTCString();
  for (const asked of [{ 'if-none-match': etag }, { 'if-none-match': `W/${etag}` }, { 'if-none-match': `"other", ${etag}` }, { 'if-none-match': '*' }, { 'if-modified-since': modified }, { 'if-modified-since': later }]) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await get('assets/index-Ab12.js', asked, method);
      assert.equal(answer.status, 304, JSON.stringify(asked));
      assert.equal(await answer.text(), '');
      for (const name of ['etag', 'cache-control', 'cross-origin-embedder-policy']) assert.equal(answer.headers.get(name), headers.get(name), name);
    }
  }
  const earlier = new Date(Date.parse(modified) - 60_000).toUTCString();
  for (const asked of [{ 'if-none-match': '"other"' }, { 'if-none-match': '"other"', 'if-modified-since': later }, { 'if-modified-since': earlier }, { 'if-modified-since': 'no date' }]) {
    assert.equal((await get('assets/index-Ab12.js', asked)).status, 200, JSON.stringify(asked));
  }
});

test('a file that has changed is sent again', async () => {
  const before = (await get('index.html')).headers.get('etag');
  await writeFile(join(root, 'index.html'), 'this is index.htmm'); // of the same size
  await utimes(join(root, 'index.html'), new Date(), new Date(Date.now() + 5000));
  const answer = await get('index.html', { 'if-none-match': before });
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), 'this is index.htmm');
});

test('a part of a file, and the whole one when the part would be of another version', async () => {
  const { headers } = await get('assets/index-Ab12.js');
  for (const version of [headers.get('etag'), headers.get('last-modified')]) {
    const part = await get('assets/index-Ab12.js', { range: 'bytes=5-6', 'if-range': version });
    assert.deepEqual([part.status, await part.text()], [206, 'is']);
  }
  const whole = await get('assets/index-Ab12.js', { range: 'bytes=5-6', 'if-range': '"other"' });
  assert.deepEqual([whole.status, await whole.text()], [200, 'this is assets/index-Ab12.js']);
});
