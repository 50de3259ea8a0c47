// The two packages as they are published, in a project of their own: packed, installed by npm, and used by the README's lines.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { BitMar } from 'bitmar';
import { packed } from '../bundlers/project.mjs';
import { MODEL, path, sample } from './helpers.mjs';

const run = promisify(execFile);
const CAT = path('web/demo/public/samples/cat.jpg');
let folder, expected;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bitmar-install-'));
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const { bitmar, model } = await packed();
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--omit=optional', bitmar, model], { cwd: folder });
  const own = await BitMar.load(MODEL);
  expected = (await own.caption(await sample('cat'))).text;
  own.dispose();
});
after(() => rm(folder, { recursive: true }));

const script = async (text, ...args) => {
  await writeFile(join(folder, 'script.mjs'), text);
  return (await run(process.execPath, [join(folder, 'script.mjs'), ...args], { cwd: tmpdir() })).stdout;
};

test('five lines caption a photo', async () => {
  const five = `
    import { openAsBlob } from 'node:fs';
    import { BitMar } from 'bitmar';
    const model = await BitMar.load();
    console.log((await model.caption(await openAsBlob(process.argv[2]))).text);
    model.dispose();`;
  assert.equal(await script(five, CAT), `${expected}\n`);
});

test('the model’s addresses, and a folder of one’s own', async () => {
  const text = `
    import { BitMar } from 'bitmar';
    import model from 'bitmar-model';
    for (const source of [model, ${JSON.stringify(MODEL)}]) {
      const { info, dispose } = await BitMar.load(source);
      console.log(info.worker, info.fileBytes);
    }
    process.exit();`;
  const [first, second] = (await script(text)).trim().split('\n');
  assert.match(first, /^true \d{7}$/);
  assert.equal(second, first);
});

test('in a worker of node', async () => {
  const text = `
    import { openAsBlob } from 'node:fs';
    import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
    import { BitMar } from 'bitmar';
    if (isMainThread) {
      new Worker(new URL(import.meta.url), { workerData: process.argv[2] }).on('message', (text) => console.log(text));
    } else {
      const model = await BitMar.load();
      parentPort.postMessage((await model.caption(await openAsBlob(workerData))).text);
      model.dispose();
    }`;
  assert.equal(await script(text, CAT), `${expected}\n`);
});

test('the command line has its model, and its version', async () => {
  const bitmar = (...args) => run(join(folder, 'node_modules/.bin/bitmar'), args, { cwd: folder });
  assert.equal((await bitmar('caption', CAT)).stdout, `${expected}\n`);
  const { version } = JSON.parse(await readFile(path('web/bitmar/package.json'), 'utf8'));
  assert.equal((await bitmar('--version')).stdout, `${version}\n`);
});

test('the model’s package says what it may be used for', async () => {
  const text = async (name) => readFile(join(folder, 'node_modules/bitmar-model', name), 'utf8');
  for (const name of ['LICENSE', 'README.md']) assert.match(await text(name), /research and\s+education/);
  const { license } = JSON.parse(await text('package.json'));
  assert.equal(license, 'SEE LICENSE IN LICENSE');
});

test('without the model’s package: an error that says what to do', async () => {
  await rm(join(folder, 'node_modules/bitmar-model'), { recursive: true });
  const text = "import { BitMar } from 'bitmar'; await BitMar.load().catch(({ code, message }) => console.log(code, message));";
  assert.match(await script(text), /^missing_file .*bitmar-model.*install it, or give load\(\) the address/);
});
