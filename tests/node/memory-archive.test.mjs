import assert from 'node:assert/strict';
import { test } from 'node:test';

import { code, path } from './helpers.mjs';

const { readArchive, writeArchive } = await import(path('web/bitmar/dist/memory-archive.js'));

const ARCHIVE = {
  model: 'abc',
  snapshot: Uint8Array.of(1, 2, 3),
  captions: new Map([[1, 'ein Hündchen'], [7, 'a cat']]),
  thumbnails: new Map([[7, { type: 'image/jpeg', bytes: Uint8Array.of(9) }], [1, { type: 'image/webp', bytes: Uint8Array.of(8, 8) }]]),
};
const bytesOf = async (archive) => new Uint8Array(await writeArchive(archive).arrayBuffer());

test('an exported memory is read as it was written', async () => {
  assert.deepEqual(readArchive(await bytesOf(ARCHIVE)), ARCHIVE);
  const empty = { model: null, snapshot: new Uint8Array(), captions: new Map(), thumbnails: new Map() };
  assert.deepEqual(readArchive(await bytesOf(empty)), empty);
});

test('a file that was cut, or is something else, or newer, is refused', async () => {
  const bytes = await bytesOf(ARCHIVE);
  for (let length = 0; length < bytes.length; length += 1) assert.throws(() => readArchive(bytes.subarray(0, length)), code('invalid_state'));
  assert.throws(() => readArchive(new TextEncoder().encode('<!doctype html><html></html>')), code('invalid_state'));
  const changed = (from, to) => Uint8Array.from(Buffer.from(Buffer.from(bytes).toString('latin1').replace(from, to), 'latin1'));
  assert.throws(() => readArchive(changed('"format":1', '"format":9')), code('unsupported_state'));
  assert.throws(() => readArchive(changed('"snapshotBytes":3', '"snapshotBytes":-')), code('invalid_state'));
  assert.throws(() => readArchive(changed('"snapshotBytes":3', '"snapshotBytes":9')), code('invalid_state'));
  assert.throws(() => readArchive(changed('[7,"image/jpeg",1]', '[7,"image/jpeg",9]')), code('invalid_state'));
  assert.throws(() => readArchive(changed('[7,"a cat"]', '[7,    null]')), code('invalid_state'));
});
