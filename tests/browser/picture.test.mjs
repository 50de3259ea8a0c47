// One definition of the picture: Chromium makes of every file what node and the native engine make of it (io_image_test.cpp says what that is).
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { complaints, disposeNodeModel, launch, MODEL, nodeModel, path, serve } from './helpers.mjs';

const IMAGES = path('tests/golden/images');
const FILES = (await readdir(IMAGES)).filter((name) => /\.(png|jpg)$/.test(name) && !/^(bomb|empty|huge)/.test(name));
const { decodePhoto } = await import(path('web/bitmar/dist/platform/photos-node.js'));

describe('a file in Chromium and under node', () => {
  let server, browser, page, wrong;
  before(async () => {
    server = await serve({ root: path('') });
    browser = await launch();
    page = await browser.page();
    wrong = complaints(page, server.url);
    await page.goto(`${server.url}tests/browser/blank.html`);
    await page.evaluate(async (address) => {
      globalThis.model = await (await import('bitmar')).BitMar.load(address);
      // As the package asks for it; drawn on white, for what differs to be seen.
      globalThis.drawn = async (file) => {
        const bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none' });
        const { width, height } = bitmap;
        const context = new OffscreenCanvas(width, height).getContext('2d');
        context.fillStyle = '#fff';
        context.fillRect(0, 0, width, height);
        context.drawImage(bitmap, 0, 0);
        return { width, height, data: [...context.getImageData(0, 0, width, height).data] };
      };
    }, `/${relative(path(''), MODEL)}/`);
  });
  after(async () => {
    await browser.close();
    await server.close();
    disposeNodeModel();
  });

  const cosine = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const inChromium = (bytes) =>
    page.evaluate(async (bytes) => {
      const file = new Blob([new Uint8Array(bytes)]);
      return { picture: await drawn(file), embedding: [...(await model.embed({ image: file }))] };
    }, [...bytes]);

  for (const name of FILES) {
    test(name, async () => {
      const bytes = await readFile(join(IMAGES, name));
      const there = await inChromium(bytes);
      const here = await decodePhoto(bytes);
      assert.deepEqual([there.picture.width, there.picture.height], [here.width, here.height]);
      let difference = 0;
      for (let i = 0; i < here.data.length; i += 1) difference += Math.abs(here.data[i] - there.picture.data[Math.floor(i / 3) * 4 + (i % 3)]);
      assert.ok(difference / here.data.length <= 2, `pixels differ by ${difference / here.data.length} of 255`);
      const embedding = await (await nodeModel()).embed({ image: bytes });
      assert.ok(cosine(embedding, there.embedding) > 0.99, `cosine ${cosine(embedding, there.embedding)}`);
    });
  }

  test('the comparison would see a difference: transparency, channels and turns', async () => {
    const { embedding } = await inChromium(await readFile(join(IMAGES, 'rgb.png')));
    for (const other of ['rgba.png', 'orientation3.jpg', 'grey.png']) {
      const file = await readFile(join(IMAGES, other));
      const changed = other === 'orientation3.jpg' ? Buffer.from(file).fill(1, file.indexOf('Exif') + 24, file.indexOf('Exif') + 26) : file;
      const found = await inChromium(changed);
      assert.ok(cosine(embedding, found.embedding) < 0.99, other);
    }
    assert.deepEqual(wrong, []);
  });
});
