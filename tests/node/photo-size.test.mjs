// The size that a picture's file claims, which the browser's package asks before the browser decodes it.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { path, picture, png, sample, SAMPLES } from './helpers.mjs';

const { sizeOf } = await import(path('web/bitmar/dist/platform/photo-size.js'));
const { decodePhoto } = await import(path('web/bitmar/dist/platform/photos-node.js'));
const blob = (...parts) => new Blob(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Uint8Array.from(part))));

test('of photos is that of their pixels', async () => {
  const folder = 'tests/golden/images/';
  const own = (await readdir(path(folder))).filter((name) => /\.(png|jpe?g)$/.test(name)).map(async (name) => new Blob([await readFile(path(folder + name))]));
  let compared = 0;
  for (const file of await Promise.all([...SAMPLES.map(sample), ...own])) {
    let decoded;
    try {
      decoded = await decodePhoto(new Uint8Array(await file.arrayBuffer()));
    } catch {
      continue; // it claims too much
    }
    const { width, height } = await sizeOf(file);
    const sides = [decoded.width, decoded.height]; // turned, where EXIF says so
    assert.deepEqual([width, height].sort((a, b) => a - b), sides.sort((a, b) => a - b));
    compared += 1;
  }
  assert.ok(compared >= SAMPLES.length + 30);
});

test('is what the header says, of every format that browsers decode', async () => {
  assert.deepEqual(await sizeOf(new Blob([png(picture(3, 4), { width: 20_000, height: 70_000 })])), { width: 20_000, height: 70_000 });
  assert.deepEqual(await sizeOf(blob('GIF89a', [0x10, 0x27, 0x40, 0x9c, 0, 0, 0])), { width: 10_000, height: 40_000 });
  // A picture that is larger than the screen, behind a comment and a palette.
  const frame = [0x2c, 10, 0, 20, 0, 0xb8, 0x0b, 0xd0, 0x07];
  assert.deepEqual(await sizeOf(blob('GIF89a', [10, 0, 10, 0, 0x80, 0, 0], [1, 2, 3, 4, 5, 6], [0x21, 0xfe, 2, 65, 66, 0], frame)), { width: 3010, height: 2020 });
  const comments = new Array(3000).fill([0xff, 0xfe, 0, 200, ...new Array(198).fill(0)]).flat();
  assert.deepEqual(await sizeOf(blob([0xff, 0xd8], comments, [0xff, 0xc0, 0, 17, 8, 0x75, 0x30, 0x9c, 0x40, 3])), { width: 40_000, height: 30_000 }, 'behind 600 KB of notes');
  assert.deepEqual(await sizeOf(blob('RIFF....WEBPVP8X', [10, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x3f, 0, 0xfe, 0x3f, 0])), { width: 16_384, height: 16_383 });
  assert.deepEqual(await sizeOf(blob('RIFF....WEBPVP8 ', [9, 0, 0, 0, 0, 0, 0, 0x9d, 1, 0x2a, 0x00, 0x20, 0x01, 0x10, 0, 0])), { width: 8192, height: 4097 });
  assert.deepEqual(await sizeOf(blob('RIFF....WEBPVP8L', [9, 0, 0, 0, 0x2f, 0xff, 0xff, 0xff, 0x0f, 0, 0])), { width: 16_384, height: 16_384 });
  const segment = [0xff, 0xe1, 0, 6, 1, 2, 3, 4];
  assert.deepEqual(await sizeOf(blob([0xff, 0xd8], segment, [0xff, 0xff], segment.slice(1), [0xff, 0xc2, 0, 17, 8, 0x75, 0x30, 0x9c, 0x40, 3])), { width: 40_000, height: 30_000 });
});

test('is not known of what ends before it tells, or is something else', async () => {
  for (const file of [blob(''), blob('\x89PNG'), blob('GIF89a'), blob([0xff, 0xd8, 0xff]), blob('RIFF....WEBPVP8X'), blob('<svg/>'), blob([0xff, 0xd8], new Array(5000).fill(0xff))]) {
    assert.equal(await sizeOf(file), undefined);
  }
});
