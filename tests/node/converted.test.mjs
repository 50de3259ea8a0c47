// The native command line on a converted checkpoint (docs/compat.md), against PyTorch's golden vectors.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const MODEL = path('tests/golden/compat');
const program = ['release', 'debug'].map((kind) => path(`build/native-${kind}/src/bitmar`)).find(existsSync);

const bitmar = (...args) =>
  new Promise((resolve) => {
    execFile(program, args, (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stdout, stderr }));
  });
const jsonLines = (text) => text.trim().split('\n').map((line) => JSON.parse(line));

/** The golden vectors: the bytes of each by name. */
async function goldenBytes() {
  const file = await readFile(join(MODEL, 'golden.safetensors'));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start));
  return (name) => file.subarray(...header[name].data_offsets.map((at) => start + at));
}
const floats = (bytes) => Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
const integers = (bytes) => Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * i));

describe('the command line on a converted checkpoint', { skip: program ? false : 'it is not built (npm test -- native)' }, async () => {
  const golden = await goldenBytes();
  const folder = await mkdtemp(join(tmpdir(), 'bitmar-converted-'));
  const vector = join(folder, 'vector.f32');
  await writeFile(vector, golden('vision_vector'));
  const text = (name) => String(golden(`${name}_text`));

  test('score: the tokens of each text, as PyTorch scores them', async () => {
    const texts = [0, 1].map((i) => text(`continuation/${i}`));
    const { status, stdout } = await bitmar('score', vector, '--prefix', text('prefix'), ...texts.flatMap((each) => ['--text', each]), '--model', MODEL);
    assert.equal(status, 0);
    for (const [i, line] of jsonLines(stdout).entries()) {
      assert.equal(line.text, texts[i]);
      const wanted = floats(golden(`score/${i}`));
      assert.equal(line.log_probabilities.length, wanted.length);
      line.log_probabilities.forEach((value, at) => assert.ok(Math.abs(value - wanted[at]) < 1e-3, `${value}, ${wanted[at]}`));
    }
  });

  test('complete: what PyTorch says, as text and as JSON', async () => {
    const wanted = integers(golden('greedy'));
    const args = ['complete', vector, '--prefix', text('prompt'), '--max-tokens', String(wanted.length), '--model', MODEL];
    const [said] = jsonLines((await bitmar(...args, '--json')).stdout);
    assert.deepEqual(said.tokens, wanted);
    assert.ok(said.log_probability < 0);
    assert.equal((await bitmar(...args)).stdout, `${said.text}\n`);
    const blind = await bitmar('complete', '--prefix', text('prompt'), '--model', MODEL, '--json');
    assert.equal(blind.status, 0);
  });

  test('all else is refused with its reason', async () => {
    const strange = join(folder, 'strange');
    await cp(MODEL, strange, { recursive: true });
    await writeFile(join(strange, 'config.json'), JSON.stringify({ ...JSON.parse(await readFile(join(MODEL, 'config.json'))), num_heads: 5 }));
    for (const [args, code] of [
      [['caption', 'x.jpg', '--model', MODEL], 'unsupported'],
      [['ask', 'x.jpg', 'what?', '--model', MODEL], 'unsupported'],
      [['embed', '--text', 'a', '--model', MODEL], 'unsupported'],
      [['info', '--model', MODEL], 'unsupported'],
      [['complete', 'nowhere.f32', '--model', MODEL], 'missing_file'],
      [['complete', path('README.md'), '--model', MODEL], 'invalid_argument'],
      [['complete', '--prefix', 'z'.repeat(50), '--model', MODEL], 'text_too_long'],
      [['score', '--text', 'a', '--model', strange], 'invalid_config'],
      [['complete', '--model', join(folder, 'none')], 'missing_file'],
    ]) {
      const { status, stdout } = await bitmar(...args, '--json');
      assert.equal(status, 1, args.join(' '));
      assert.equal(jsonLines(stdout)[0].error.code, code, args.join(' '));
    }
    for (const args of [['complete', vector, vector], ['complete', '--text', 'a'], ['embed', '--text', 'a', '--prefix', 'a']]) assert.equal((await bitmar(...args, '--model', MODEL)).status, 2);
  });

  test('options that would do nothing are refused', async () => {
    for (const option of ['--temperature=1', '--top-p=0.5', '--seed=3', '--beams=2', '--length-penalty=1', '--prompt=a', '--int8-kv', '--threads=2']) {
      for (const command of [['complete', '--prefix', 'a'], ['score', '--text', 'a']]) {
        const { status, stdout, stderr } = await bitmar(...command, option, '--model', MODEL);
        assert.equal(status, 2, `${command[0]} ${option}`);
        assert.equal(stdout, '');
        assert.match(stderr, new RegExp(`^bitmar: a converted checkpoint takes no ${option.split('=')[0]}\\n`));
      }
    }
  });

  test('a config.json that is no JSON is what is complained about', async () => {
    const broken = join(folder, 'broken');
    await cp(MODEL, broken, { recursive: true });
    await writeFile(join(broken, 'config.json'), '{"model_type": ');
    for (const command of [['complete'], ['score', '--text', 'a'], ['info']]) {
      const { status, stdout } = await bitmar(...command, '--model', broken, '--json');
      assert.equal(status, 1);
      const { code, message } = jsonLines(stdout)[0].error;
      assert.equal(code, 'invalid_config');
      assert.match(message, /config\.json/);
    }
  });

  after(() => rm(folder, { recursive: true }));
});
