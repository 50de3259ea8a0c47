// Shared by the browser tests: Chromium, servers, pictures for the fake webcam.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, request as forward } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

import { BitMar } from 'bitmar';
import { chromium } from 'playwright-core';
import { serve as serveFiles } from '../../scripts/serve.mjs';
import { MODEL, path, SAMPLES } from '../node/helpers.mjs';

export { MODEL, path, SAMPLES };

export const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

// What a test that failed left open would keep its process, and so the whole run, from ending.
const opened = new Set();
if (process.env.NODE_TEST_CONTEXT) after(() => Promise.all([...opened].map((thing) => thing.close())));

/** A thing to close, closed at the end of the test file where nobody has by then. */
function closing(thing) {
  const { close } = thing;
  thing.close = () => (opened.delete(thing) ? close() : undefined);
  opened.add(thing);
  return thing;
}

/** As scripts/serve.mjs. */
export const serve = async (options) => closing(await serveFiles(options));

/** Chromium with a profile of its own; close() removes both. */
export async function launch(...flags) {
  const profile = await mkdtemp(join(tmpdir(), 'bitmar-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: [...QUIET, ...flags],
  });
  return closing({
    context,
    page: () => context.newPage(),
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 3 });
    },
  });
}

/** Everything that went wrong on a page: console errors, uncaught errors, CSP violations, requests to other hosts. */
export function complaints(page, origin) {
  const list = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') list.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => list.push(`uncaught: ${error.message}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !/^(blob|data):/.test(url)) list.push(`request: ${url}`);
  });
  return list;
}

/**
 * Serves what `target` serves, but what is refused, under a folder, with these headers, those of types and caches and no other ones: a plain
 * static host, or one with a strict CSP. `target` may be a function from names to addresses. `sent` counts the bytes of files.
 */
export async function host(target, folder, headers, refused = () => false) {
  const counted = { sent: 0 };
  const server = createServer((request, response) => {
    if (!request.url.startsWith(folder) || refused(request.url)) return response.writeHead(404).end();
    const wanted = request.headers['if-none-match'];
    const options = { headers: wanted ? { 'if-none-match': wanted } : {} };
    const name = request.url.slice(folder.length);
    forward(typeof target === 'function' ? target(name) : new URL(name, target), options, (answer) => {
      const kept = ['content-type', 'content-length', 'etag', 'cache-control'].map((name) => [name, answer.headers[name]]).filter(([, value]) => value);
      response.writeHead(answer.statusCode, { ...Object.fromEntries(kept), ...headers });
      answer.on('data', (bytes) => (counted.sent += bytes.length));
      answer.pipe(response);
    }).end();
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return closing({
    url: `http://localhost:${server.address().port}${folder}`,
    counted,
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  });
}

// ---- What is on the disk ----

/** Waits until the page's storage holds so many captions of remembered photos. */
export async function savedCaptions(page, count) {
  const counted = () =>
    page.evaluate(async () => {
      const done = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
      let sum = 0;
      for (const { name } of await indexedDB.databases()) {
        const database = await done(indexedDB.open(name));
        if (database.objectStoreNames.contains('captions')) sum += await done(database.transaction('captions').objectStore('captions').count());
        database.close();
      }
      return sum;
    });
  for (let i = 0; i < 600 && (await counted()) !== count; i += 1) await page.waitForTimeout(100);
}

// ---- Expectations from node ----

/** The pixels of the photo on the stage. */
export async function shownPixels(page) {
  return page.evaluate(async () => {
    const photo = document.querySelector('#photo');
    await photo.decode();
    const { naturalWidth: width, naturalHeight: height } = photo;
    const context = new OffscreenCanvas(width, height).getContext('2d');
    context.drawImage(photo, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    let text = '';
    for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
    return { base64: btoa(text), width, height };
  });
}

let model;
export async function nodeModel() {
  return (model ??= await BitMar.load(MODEL));
}

/** What node says about pixels that a page sent as { base64, width, height }. */
export async function nodeCaption({ base64, width, height }, options) {
  const { text, tokens } = await (await nodeModel()).caption({ data: Buffer.from(base64, 'base64'), width, height }, options);
  return { text, tokens };
}

export function disposeNodeModel() {
  model?.dispose();
  model = undefined;
}

// ---- Pictures ----

export async function samplePhotos() {
  return Promise.all(SAMPLES.map((name) => readFile(path(`web/demo/public/samples/${name}.jpg`))));
}

/** A film for --use-file-for-fake-video-capture: each photo for `seconds`, over and over. The page is used to draw. */
export async function film(page, photos, seconds) {
  const frames = [];
  for (const photo of photos) {
    const frame = await page.evaluate(async (base64) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes]));
      const canvas = new OffscreenCanvas(320, 240);
      canvas.getContext('2d').drawImage(bitmap, 0, 0, 320, 240);
      const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.92 });
      return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
    }, photo.toString('base64'));
    for (let i = 0; i < 30 * seconds; i += 1) frames.push(Buffer.from(frame, 'base64'));
  }
  const file = join(await mkdtemp(join(tmpdir(), 'bitmar-film-')), 'film.mjpeg');
  await writeFile(file, Buffer.concat(frames));
  return file;
}

export function webcam(file) {
  return ['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${file}`];
}
