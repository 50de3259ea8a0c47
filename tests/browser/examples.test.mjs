// Every example of examples/, in a project that has installed the packages, with the captions that node gives.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { project, PROJECT } from '../bundlers/project.mjs';
import { complaints, disposeNodeModel, film, launch, nodeModel, path, serve, webcam } from './helpers.mjs';

const run = promisify(execFile);
const CAT = path('web/demo/public/samples/cat.jpg');
let expected;
before(async () => {
  await project(process.env.BITMAR_BUNDLERS === 'all');
  expected = (await (await nodeModel()).caption(new Blob([await readFile(CAT)]), { numBeams: 8 })).text;
});
after(disposeNodeModel);

/** A copy of the example beside the installed packages. */
async function example(name) {
  const folder = join(PROJECT, 'apps', `example-${name}`);
  await rm(folder, { recursive: true, force: true });
  await cp(path(`examples/${name}`), folder, { recursive: true });
  await symlink(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/** What the page in that folder says of the cat. */
async function saidOfTheCat(folder) {
  const server = await serve({ root: folder });
  const browser = await launch();
  const page = await browser.page();
  const wrong = complaints(page, server.url);
  await page.goto(server.url);
  await page.waitForFunction(() => /Choose/.test(document.querySelector('[role=status]')?.textContent), undefined, { timeout: 60_000 });
  await page.setInputFiles('input', CAT);
  await page.waitForFunction(() => /^[a-z]/.test(document.querySelector('[role=status]').textContent), undefined, { timeout: 60_000 });
  const text = await page.textContent('[role=status]');
  await browser.close();
  await server.close();
  assert.deepEqual(wrong, []);
  return text;
}

test('html', async () => {
  // A browser decodes a photo a little differently.
  assert.match(await saidOfTheCat(await example('html')), /\bcat\b/);
});

test('react', async () => {
  const folder = await example('react');
  const { build } = await import(pathToFileURL(join(PROJECT, 'node_modules/vite/dist/node/index.js')));
  await build({ root: folder, logLevel: 'error' });
  assert.match(await saidOfTheCat(join(folder, 'dist')), /\bcat\b/);
});

test('node', async () => {
  const script = join(await example('node'), 'caption.mjs');
  const { stdout } = await run(process.execPath, [script, CAT]);
  assert.match(stdout, new RegExp(`^${CAT}: ${expected} \\(\\d+ % sure\\)\n$`));
  const failed = await run(process.execPath, [script, path('package.json')]).catch((error) => error);
  assert.equal(failed.code, 1);
});

test('webcam', async () => {
  const folder = await example('webcam');
  const server = await serve({ root: folder });
  let browser = await launch();
  const file = await film(await browser.page(), [await readFile(CAT)], 2);
  await browser.close();
  browser = await launch(...webcam(file));
  const page = await browser.page();
  const wrong = complaints(page, server.url);
  await page.goto(server.url);
  await page.click('button');
  await page.waitForFunction(() => /\bcat\b/.test(document.querySelector('[role=status]').textContent), undefined, { timeout: 60_000 });
  await browser.close();
  await server.close();
  assert.deepEqual(wrong, []);
});

test('none is longer than 40 lines', async () => {
  const files = (await readdir(path('examples'), { recursive: true })).filter((name) => /\.(html|mjs|jsx?)$/.test(name));
  assert.ok(files.length >= 5);
  for (const name of files) assert.ok((await readFile(path(`examples/${name}`), 'utf8')).trimEnd().split('\n').length <= 40, name);
});
