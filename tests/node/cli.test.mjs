import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { BitMar } from 'bitmar';
import { MODEL, path, sample } from './helpers.mjs';

const CAT = path('web/demo/public/samples/cat.jpg');

function bitmar(...args) {
  return new Promise((resolve) => {
    execFile(process.execPath, [path('web/bitmar/dist/cli.js'), ...args], (error, stdout, stderr) => {
      resolve({ status: error ? error.code : 0, stdout, stderr });
    });
  });
}

test('bitmar caption prints the caption', async () => {
  const model = await BitMar.load(MODEL);
  const { text, tokens } = await model.caption(await sample('cat'));
  model.dispose();
  assert.deepEqual(await bitmar('caption', CAT, '--model', MODEL), { status: 0, stdout: `${text}\n`, stderr: '' });

  const { stdout } = await bitmar('caption', CAT, '--json', `--model=${MODEL}`);
  const json = JSON.parse(stdout);
  assert.deepEqual(Object.keys(json), ['text', 'tokens', 'log_probability', 'vision_ms', 'text_ms']);
  assert.equal(json.text, text);
  assert.deepEqual(json.tokens, tokens);
});

test('options reach the engine', async () => {
  const { stdout } = await bitmar('caption', CAT, '--json', '--model', MODEL, '--beams', '3', '--max-tokens', '2', '--prompt', 'a photo of');
  assert.ok(JSON.parse(stdout).tokens.length <= 2);
});

test('several photos, one line each', async () => {
  const photos = ['astronaut', 'coffee'].map((name) => path(`web/demo/public/samples/${name}.jpg`));
  const { stdout } = await bitmar('caption', ...photos, '--jsonl', '--model', MODEL);
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ photo }) => photo), photos);
});

test('the native command line says the same', async (t) => {
  const native = path('build/native-release/src/bitmar');
  if (!existsSync(native)) return t.skip('the native command line is not built');
  const run = promisify(execFile);
  for (const options of [[], ['--beams', '3'], ['--temperature', '1', '--seed', '5'], ['--prompt', 'a photo of']]) {
    const args = ['caption', CAT, '--json', '--model', MODEL, ...options];
    const [a, b] = [JSON.parse((await run(native, args)).stdout), JSON.parse((await bitmar(...args)).stdout)];
    assert.deepEqual({ ...b, vision_ms: 0, text_ms: 0 }, { ...a, vision_ms: 0, text_ms: 0 }, options.join(' '));
  }
});

test('errors: one line with the code, and 1', async () => {
  for (const [args, code] of [
    [['caption', 'nowhere.jpg'], 'missing_file'],
    [['caption', CAT, '--model', path('src')], 'missing_file'],
    [['caption', path('package.json'), '--model', MODEL], 'invalid_image|unsupported_image'],
    [['caption', CAT, '--model', MODEL, '--max-tokens', '0'], 'invalid_argument'],
    [['caption', CAT, '--model', MODEL, '--temperature', '-1'], 'invalid_argument'],
    [['caption', CAT, '--model', MODEL, '--prompt', 'word '.repeat(1000)], 'text_too_long'],
  ]) {
    const { status, stdout, stderr } = await bitmar(...args);
    assert.equal(status, 1, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, new RegExp(`^bitmar: (${code}): .+\n$`));
  }
});

test('wrong use: the usage, and 2', async () => {
  for (const args of [[], ['sing'], ['caption'], ['caption', CAT, '--beams', 'x'], ['caption', CAT, '--tea']]) {
    const { status, stderr } = await bitmar(...args);
    assert.equal(status, 2, args.join(' '));
    assert.match(stderr, /usage: bitmar caption/);
  }
  const { status, stdout } = await bitmar('--help');
  assert.equal(status, 0);
  assert.match(stdout, /usage/);
});
