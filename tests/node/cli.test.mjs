import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { MODEL, path, sample, TINY, tinyFiles } from './helpers.mjs';

const [CAT, COFFEE] = ['cat', 'coffee'].map((name) => path(`web/demo/public/samples/${name}.jpg`));

// One command line in two builds: the same options, output and errors.
const PROGRAMS = {
  'under node': [process.execPath, path('web/bitmar/dist/cli.js')],
  native: [['release', 'debug'].map((kind) => path(`build/native-${kind}/src/bitmar`)).find(existsSync)],
};

const runner = ([program, ...first]) => (...args) =>
  new Promise((resolve) => {
    execFile(program, [...first, ...args], (error, stdout, stderr) => {
      resolve({ status: error ? error.code : 0, stdout, stderr });
    });
  });

for (const [name, program] of Object.entries(PROGRAMS)) {
  describe(`the command line ${name}`, { skip: program[0] ? false : 'it is not built (npm test -- native)' }, () => {
    const bitmar = runner(program);

    test('bitmar caption prints the caption', async () => {
      const model = await BitMar.load(MODEL);
      const { text, tokens } = await model.caption(await sample('cat'));
      model.dispose();
      assert.deepEqual(await bitmar('caption', CAT, '--model', MODEL), { status: 0, stdout: `${text}\n`, stderr: '' });

      const { stdout } = await bitmar('caption', CAT, '--json', `--model=${MODEL}`);
      const json = JSON.parse(stdout);
      assert.deepEqual(Object.keys(json), ['text', 'tokens', 'log_probability', 'confidence', 'vision_ms', 'text_ms']);
      assert.equal(json.text, text);
      assert.deepEqual(json.tokens, tokens);
    });

    test('a full disk is an error, and a list has its limit', async (t) => {
      if (!existsSync('/dev/full')) return t.skip('there is no /dev/full');
      const full = await runner(['/bin/sh', '-c', '"$@" >/dev/full', 'sh', ...program])('caption', CAT, '--model', TINY);
      assert.equal(full.status, 1);
      const folder = await mkdtemp(join(tmpdir(), 'bitmar-list-'));
      await writeFile(join(folder, 'list'), 'x\n'.repeat(300000));
      assert.notEqual((await bitmar('caption', '--list', join(folder, 'list'), '--model', TINY)).status, 0);
      await rm(folder, { recursive: true });
    });

    test('options reach the engine', async () => {
      const { stdout } = await bitmar('caption', CAT, '--json', '--model', MODEL, '--beams', '3', '--max-tokens', '2', '--prompt', 'a photo of');
      assert.ok(JSON.parse(stdout).tokens.length <= 2);
      assert.equal((await bitmar('caption', CAT, '--model', MODEL, '--int8-kv')).status, 0);
      const [short, long] = await Promise.all(['-9', '9'].map(async (penalty) => {
        const photo = path('web/demo/public/samples/photographer.jpg');
        const { stdout } = await bitmar('caption', photo, '--json', '--model', MODEL, '--beams', '5', '--length-penalty', penalty);
        return JSON.parse(stdout).tokens.length;
      }));
      assert.ok(short < long, `${short} tokens, ${long} tokens`);
    });

    test('several photos, one line each', async () => {
      const photos = ['astronaut', 'coffee'].map((name) => path(`web/demo/public/samples/${name}.jpg`));
      const { stdout } = await bitmar('caption', ...photos, '--jsonl', '--model', MODEL);
      const lines = stdout.trim().split('\n').map((line) => JSON.parse(line));
      assert.deepEqual(lines.map(({ photo }) => photo), photos);
    });

    test('bitmar ask prints the answer', async () => {
      const model = await BitMar.load(TINY);
      const wanted = await model.ask(await sample('cat'), 'is it a dog?', { numBeams: 3 });
      model.dispose();
      const ask = (...args) => bitmar('ask', CAT, 'is it a dog?', '--model', TINY, '--beams', '3', ...args);
      assert.deepEqual(await ask(), { status: 0, stdout: `${wanted.answer}\n`, stderr: '' });
      const json = JSON.parse((await ask('--json')).stdout);
      assert.deepEqual(Object.keys(json), ['answer', 'declined', 'tokens', 'log_probability', 'confidence', 'vision_ms', 'text_ms']);
      assert.deepEqual([json.answer, json.declined, json.tokens, json.confidence], [wanted.answer, false, wanted.tokens, wanted.confidence]);
      assert.equal(JSON.parse((await ask('--json', '--max-tokens', '1')).stdout).tokens.length, 1);
    });

    test('questions of a list, one line each; a photo that comes again is not encoded again', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'bitmar-ask-'));
      const list = join(folder, 'questions.txt');
      const asked = [[CAT, 'is it a dog?'], [CAT, 'is it\ta cat?'], [COFFEE, 'Is it a dog?'], [CAT, 'is it a dog?']];
      await writeFile(list, `${asked.map((line) => line.join('\t')).join('\r\n')}\n`);
      const { stdout } = await bitmar('ask', '--list', list, '--jsonl', '--model', TINY);
      const lines = stdout.trim().split('\n').map((line) => JSON.parse(line));
      assert.deepEqual(lines.map(({ photo, question }) => [photo, question]), asked);
      assert.deepEqual(lines[3].tokens, lines[0].tokens);
      assert.equal(lines[3].log_probability, lines[0].log_probability);
      assert.notEqual(lines[1].log_probability, lines[0].log_probability);
      assert.notEqual(lines[2].log_probability, lines[0].log_probability);

      await writeFile(list, `${CAT}\tis it a dog?\nnowhere.jpg\tis it a dog?\n`);
      const lost = await bitmar('ask', '--list', list, '--jsonl', '--model', TINY);
      assert.equal(lost.status, 1);
      assert.match(lost.stderr, /^bitmar: missing_file: nowhere\.jpg/);
      await writeFile(list, `${CAT} is it a dog?\n`);
      const tabless = await bitmar('ask', '--list', list, '--model', TINY);
      assert.equal(tabless.status, 2);
      assert.match(tabless.stderr, /has no tab/);
      await rm(folder, { recursive: true });
    });

    test('photos of a list are captioned', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'bitmar-list-'));
      await writeFile(join(folder, 'photos.txt'), `${CAT}\n\n${COFFEE}\n`);
      const { stdout } = await bitmar('caption', '--list', join(folder, 'photos.txt'), '--jsonl', '--model', TINY);
      assert.deepEqual(stdout.trim().split('\n').map((line) => JSON.parse(line).photo), [CAT, COFFEE]);
      await rm(folder, { recursive: true });
    });

    test('a model that answers no questions says so', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'bitmar-mute-'));
      const { config, tokenizer, preprocessor, weights } = await tinyFiles((mute) => delete mute.ask);
      const files = { 'config.json': config, 'tokenizer.json': tokenizer, 'preprocessor_config.json': preprocessor, 'model.safetensors': weights };
      await Promise.all(Object.entries(files).map(([name, bytes]) => writeFile(join(folder, name), bytes)));
      const { status, stderr } = await bitmar('ask', CAT, 'is it a dog?', '--model', folder);
      assert.equal(status, 1);
      assert.match(stderr, /^bitmar: unsupported: .+\n$/);
      await rm(folder, { recursive: true });
    });

    test('errors: one line with the code, and 1', async () => {
      for (const [args, code] of [
        [['caption', 'nowhere.jpg'], 'missing_file'],
        [['caption', CAT, '--model', path('src')], 'missing_file'],
        [['caption', path('package.json'), '--model', MODEL], 'invalid_image|unsupported_image'],
        [['caption', CAT, '--model', MODEL, '--max-tokens', '0'], 'invalid_argument'],
        [['caption', CAT, '--model', MODEL, '--temperature', '-1'], 'invalid_argument'],
        [['caption', CAT, '--model', MODEL, '--prompt', 'word '.repeat(1000)], 'text_too_long'],
        [['ask', CAT, 'word '.repeat(1000), '--model', TINY], 'text_too_long'],
        [['ask', CAT, ' ', '--model', TINY], 'invalid_argument'],
        [['ask', 'nowhere.jpg', 'what is it?', '--model', TINY], 'missing_file'],
        [['ask', '--list', 'nowhere.txt', '--model', TINY], 'missing_file'],
      ]) {
        const { status, stdout, stderr } = await bitmar(...args);
        assert.equal(status, 1, stderr);
        assert.equal(stdout, '');
        assert.match(stderr, new RegExp(`^bitmar: (${code}): .+\n$`));
      }
    });

    test('wrong use: the usage, and 2', async () => {
      for (const args of [[], ['sing'], ['caption'], ['caption', CAT, '--beams', 'x'], ['caption', CAT, '--tea'], ['ask'], ['ask', CAT], ['ask', CAT, 'what?', 'where?']]) {
        const { status, stderr } = await bitmar(...args);
        assert.equal(status, 2, args.join(' '));
        assert.match(stderr, /usage: bitmar caption/);
      }
      const { version } = JSON.parse(await readFile(path('web/bitmar/package.json'), 'utf8'));
      for (const word of ['--version', 'version']) assert.deepEqual(await bitmar(word), { status: 0, stdout: `${version}\n`, stderr: '' });
      const { status, stdout } = await bitmar('--help');
      assert.equal(status, 0);
      assert.match(stdout, /usage/);
    });
  });
}

test('both say the same', { skip: PROGRAMS.native[0] ? false : 'the native one is not built' }, async () => {
  for (const options of [[], ['--beams', '3', '--length-penalty', '0.5'], ['--temperature', '1', '--seed', '5'], ['--prompt', 'a photo of']]) {
    const args = ['caption', CAT, '--json', '--model', MODEL, ...options];
    const [a, b] = await Promise.all(
      Object.values(PROGRAMS).map(async (program) => ({ ...JSON.parse((await runner(program)(...args)).stdout), vision_ms: 0, text_ms: 0 })),
    );
    assert.deepEqual(b, a, options.join(' '));
  }
  for (const options of [[], ['--beams', '8', '--max-tokens', '4']]) {
    const args = ['ask', CAT, 'Is it a  dog?', '--json', '--model', TINY, ...options];
    const [a, b] = await Promise.all(
      Object.values(PROGRAMS).map(async (program) => ({ ...JSON.parse((await runner(program)(...args)).stdout), vision_ms: 0, text_ms: 0 })),
    );
    assert.deepEqual(b, a, options.join(' '));
  }
});
