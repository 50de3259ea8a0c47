import assert from 'node:assert/strict';
import { test } from 'node:test';

import { code, path } from './helpers.mjs';

const archives = await import(path('web/bitmar/dist/memory/archive.js'));
const { writeArchive } = archives;
const readArchive = (bytes) => archives.readArchive(new Blob([bytes]));

const ARCHIVE = {
  model: 'abc',
  snapshot: Uint8Array.of(1, 2, 3),
  captions: new Map([[1, 'ein Hündchen'], [7, 'a cat']]),
  thumbnails: new Map([[7, { type: 'image/jpeg', bytes: Uint8Array.of(9) }], [1, { type: 'image/webp', bytes: Uint8Array.of(8, 8) }]]),
};
const bytesOf = async (archive) => new Uint8Array(await (await writeArchive(archive)).arrayBuffer());

test('an exported memory is read as it was written', async () => {
  assert.deepEqual(await readArchive(await bytesOf(ARCHIVE)), ARCHIVE);
  const empty = { model: null, snapshot: new Uint8Array(), captions: new Map(), thumbnails: new Map() };
  assert.deepEqual(await readArchive(await bytesOf(empty)), empty);
});

/** The file of the version before, and of pages without a secure context: no checksum at its end. */
async function withoutChecksum() {
  const bytes = (await bytesOf(ARCHIVE)).slice(0, -32);
  return Uint8Array.from(Buffer.from(Buffer.from(bytes).toString('latin1').replace('"format":2', '"format":1'), 'latin1'));
}

test('so is one of the version before', async () => {
  assert.deepEqual(await readArchive(await withoutChecksum()), ARCHIVE);
});

test('a file that was cut, or is longer, or something else, or newer, is refused', async () => {
  const old = await withoutChecksum();
  for (const bytes of [await bytesOf(ARCHIVE), old]) {
    for (let length = 0; length < bytes.length; length += 1) await assert.rejects(readArchive(bytes.subarray(0, length)), code('invalid_state'));
    await assert.rejects(readArchive(Uint8Array.of(...bytes, 0)), code('invalid_state'));
  }
  await assert.rejects(readArchive(new TextEncoder().encode('<!doctype html><html></html>')), code('invalid_state'));
  const changed = (from, to) => readArchive(Uint8Array.from(Buffer.from(Buffer.from(old).toString('latin1').replace(from, to), 'latin1')));
  await assert.rejects(changed('"format":1', '"format":9'), code('unsupported_state'));
  for (const [from, to] of [
    ['"format":1', '"format":0'],
    ['"format":1', '"format":2'],
    ['"snapshotBytes":3', '"snapshotBytes":-'],
    ['"snapshotBytes":3', '"snapshotBytes":9'],
    ['[7,"image/jpeg",1]', '[7,"image/jpeg",9]'],
    ['[7,"image/jpeg",1]', '[7,"text/html,",1]'],
    ['[7,"a cat"]', '[7,    null]'],
    ['[7,"a cat"]', '[1,"a cat"]'],
    ['[7,"a cat"]', '[0,"a cat"]'],
    ['[7,"a cat"]', '[7,"\\ud800"]'],
  ]) {
    await assert.rejects(changed(from, to), code('invalid_state'), to);
  }
});
