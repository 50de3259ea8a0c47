// Every hostile input of tests/hostile/make.mjs under node: by the engine's WebAssembly itself, and a share of them through the package.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { BitMar } from 'bitmar';
import { engineModule, engineOf, path, picture, TINY } from './helpers.mjs';

/** Seconds of the processor, which others on a busy machine do not spend: twice what SECURITY.md promises of native code. */
const MOST_WORK = 2;
/** Megabytes that SECURITY.md promises. */
const MOST_HEAP = 256;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

const FILES = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', safetensors: 'model.safetensors' };
const OPTIONS = { prompt: '', maxTokens: 2, numBeams: 1, temperature: 0, topP: 1, seed: 0, readMemory: false, prefix: '' };

describe('hostile inputs', () => {
  let folder, table, module, photos;
  const slowest = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bitmar-hostile-'));
    // In a process of its own, whose memory does not count here.
    await promisify(execFile)(process.execPath, [path('tests/hostile/make.mjs'), folder]);
    table = JSON.parse(await readFile(join(folder, 'table.json'), 'utf8'));
    module = await engineModule();
    photos = await (await import(path('wasm/dist/bitmar-photos.mjs'))).default();
  });
  after(() => rm(folder, { recursive: true }));

  const load = (directory) => engineOf(module, directory);

  /** The code that an input ends with; anything that is no typed error fails. */
  async function codeOf(attempt) {
    try {
      await attempt();
      return 'ok';
    } catch (error) {
      assert.equal(typeof error.code, 'string', `no typed error: ${error.stack}`);
      assert.ok(error.message.length > 5);
      return error.code;
    }
  }

  async function tryAll(cases, attempt) {
    assert.ok(cases.length > 0);
    const wrong = [];
    for (const { name, path: file, codes } of cases) {
      const start = process.cpuUsage();
      const found = await codeOf(() => attempt(join(folder, file)));
      const { user, system } = process.cpuUsage(start);
      const seconds = (user + system) / 1e6;
      slowest.push([seconds, name]);
      if (!codes.includes(found)) wrong.push(`${name}: ${found}, not ${codes}`);
      if (seconds > MOST_WORK) wrong.push(`${name}: ${seconds} s of the processor`);
      // What is over counts no more: on a machine with much memory node would let it lie.
      if (slowest.length % 4 === 0) collectGarbage();
    }
    assert.deepEqual(wrong, []);
  }
  const isLarge = ({ kind, name }) => kind === 'photo' && /^honest|megapixels|megabytes/.test(name);
  /** Frames, each behind four bytes of its length. */
  function framesOf(journal) {
    const frames = [];
    for (let at = 0; at < journal.length; at += 4 + journal.readUInt32LE(at)) frames.push(journal.subarray(at + 4, at + 4 + journal.readUInt32LE(at)));
    return frames;
  }
  const of = (...kinds) => table.filter(({ kind, name }) => kinds.includes(kind) && !name.startsWith('sparse-') && !isLarge({ kind, name }));

  test('there are hundreds', () => assert.ok(table.length >= 300, `${table.length}`));

  test('photos', () => tryAll(of('photo'), async (file) => photos.decode(await readFile(file))));

  test('models', () =>
    tryAll(of('config', 'tokenizer', 'preprocessor', 'safetensors'), async (directory) => {
      const engine = await load(directory);
      try {
        engine.beginPixels(new Uint8Array(3 * 32 * 32), 32, 32, OPTIONS);
        while (engine.step() !== null);
        assert.ok(Number.isFinite(engine.result().logProbability));
      } finally {
        engine.delete();
      }
    }));

  test('memories and journals', async () => {
    for (const kind of ['memory', 'journal']) {
      await tryAll(of(kind), async (file) => {
        const engine = await load(TINY);
        const bytes = await readFile(file);
        try {
          if (kind === 'memory') engine.memoryLoad(bytes, []);
          else engine.memoryLoad(null, file.endsWith('journal-clears') ? framesOf(bytes) : [bytes]);
        } finally {
          engine.delete();
        }
      });
    }
  });

  test('prompts, through the package', async () => {
    const model = await BitMar.load(TINY, { worker: false });
    await tryAll(of('prompt'), async (file) => model.caption(picture(20, 20), { prompt: await readFile(file, 'utf8'), maxTokens: 2 }));
    await tryAll(of('prompt').filter(({ codes }) => !codes.includes('ok')), async (file) => model.memory.recall({ text: await readFile(file, 'utf8') }));
    model.dispose();
  });

  test('photos and models through the package, those of 100 MB and more among them', async () => {
    const model = await BitMar.load(TINY, { worker: false });
    const some = of('photo').filter((_, i) => i % 6 === 0);
    await tryAll(some, async (file) => model.caption(new Blob([await readFile(file)]), { maxTokens: 2 }));
    model.dispose();
    const models = table.filter(({ kind, name }, i) => kind in FILES && (name.startsWith('sparse-') || i % 25 === 0));
    await tryAll(models, async (directory) => (await BitMar.load(directory, { worker: false })).dispose());
  });

  test('large photos, each in a process of its own: what is honest is read, and the rest takes little', async (t) => {
    const wrong = [];
    for (const { name, path: file, codes } of table.filter(isLarge)) {
      const script = `
        const photos = await (await import(${JSON.stringify(path('wasm/dist/bitmar-photos.mjs'))})).default();
        const file = (await import('node:fs')).readFileSync(process.argv[1]), before = process.cpuUsage();
        let found = 'ok';
        try { photos.decode(file); } catch (error) { found = error.code; }
        const { user, system } = process.cpuUsage(before);
        console.log(JSON.stringify([found, (user + system) / 1e6, process.resourceUsage().maxRSS >> 10]));`;
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, join(folder, file)]);
      const [found, seconds, megabytes] = JSON.parse(stdout);
      t.diagnostic(`${name}: ${found}, ${seconds.toFixed(1)} s, ${megabytes} MB`);
      if (!codes.includes(found)) wrong.push(`${name}: ${found}, not ${codes}`);
      // node itself has some 60 MB, and the pixels are copied out of the engine.
      if (!name.startsWith('honest-') && (seconds > MOST_WORK || megabytes > 512)) wrong.push(`${name}: ${seconds} s, ${megabytes} MB`);
    }
    assert.deepEqual(wrong, []);
  });

  test('in little memory, all of them', (t) => {
    const megabytes = Math.round(process.resourceUsage().maxRSS / 1024);
    slowest.sort((a, b) => b[0] - a[0]);
    t.diagnostic(`at most ${megabytes} MB; slowest: ${slowest.slice(0, 5).map(([s, name]) => `${name} ${s.toFixed(2)} s`).join(', ')}`);
    // A WebAssembly heap grows to what the hungriest input took, and never shrinks.
    for (const [name, { HEAPU8 }] of Object.entries({ engine: module, photos })) {
      const heap = HEAPU8.byteLength >> 20;
      t.diagnostic(`heap of ${name}: ${heap} MB`);
      assert.ok(heap <= MOST_HEAP, `heap of ${name}: ${heap} MB`);
    }
    // All of the process: these heaps, those of the package, and what node has not yet given back, which differs between machines (450 to 520).
    assert.ok(megabytes < 1024, `${megabytes} MB`);
  });
});
