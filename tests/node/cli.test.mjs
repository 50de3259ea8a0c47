import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
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

/** `input`: a file for standard input. */
const runner = ([program, ...first], input) => (...args) =>
  new Promise((resolve) => {
    const child = execFile(program, [...first, ...args], { maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      resolve({ status: error ? error.code : 0, stdout, stderr });
    });
    if (input) createReadStream(input).pipe(child.stdin);
  });

const jsonLines = (text) => text.trim().split('\n').map((line) => JSON.parse(line));
/** What takes time takes another time each time. */
const timeless = (text) => jsonLines(text).map((line) => ({ ...line, ...('vision_ms' in line ? { vision_ms: 0, text_ms: 0 } : {}) }));

/** Photos in folders, and what is none. */
async function album(t) {
  const folder = await mkdtemp(join(tmpdir(), 'bitmar-album-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const name of ['b', 'empty', 'b/deeper.jpg']) await mkdir(join(folder, name));
  await copyFile(CAT, join(folder, 'b/cat.JPG'));
  await copyFile(COFFEE, join(folder, 'a.jpeg'));
  await copyFile(COFFEE, join(folder, 'b/deeper.jpg/x.jpg'));
  await writeFile(join(folder, 'broken.png'), 'no picture');
  await writeFile(join(folder, 'notes.txt'), 'no photo');
  return folder;
}

for (const [name, program] of Object.entries(PROGRAMS)) {
  describe(`the command line ${name}`, { skip: program[0] ? false : 'it is not built (npm test -- native)' }, () => {
    const bitmar = runner(program);

    test('what never ends is not read to its end: photos and lists', async () => {
      const photo = await bitmar('caption', '/dev/zero', '--model', TINY);
      assert.deepEqual([photo.status, photo.stdout], [1, '']);
      assert.match(photo.stderr, /^bitmar: (image_too_large|missing_file): [^\n]*\n$/);
      const list = await bitmar('caption', '--list', '/dev/zero', '--model', TINY);
      assert.deepEqual([[1, 2].includes(list.status), list.stdout], [true, '']);
      assert.match(list.stderr, /^bitmar: [^\n]*(262144 lines|cannot be read|no file)/);
    });

    test('options: a value is not taken for an option, nor an option for a value', async () => {
      const bad = async (...args) => {
        const { status, stdout, stderr } = await bitmar(...args, '--model', TINY);
        assert.deepEqual([status, stdout], [2, ''], args.join(' '));
        assert.match(stderr, /^bitmar: [^\n]*--(json|prompt|seed)/, args.join(' '));
      };
      await bad('caption', CAT, '--json=no');
      await bad('caption', CAT, '--prompt', '--json');
      await bad('caption', CAT, '--prompt', '--x=cat');
      await bad('caption', CAT, '--seed', '1.5');
      const whole = await bitmar('caption', CAT, '--prompt=a=--b', '--length-penalty', '-1', '--model', TINY);
      assert.deepEqual([whole.status, whole.stderr], [0, '']);
      const odd = await bitmar('caption', '--model', TINY, '--', '--odd.jpg');
      assert.equal(odd.status, 1);
      assert.match(odd.stderr, /^bitmar: missing_file: [^\n]*--odd\.jpg/);
    });

    test('output that cannot be written: a message, or nothing where nobody reads, and no success', async () => {
      const shell = runner(['bash', '-c', '"$@" >/dev/full', 'sh', ...program]);
      const full = await shell('caption', CAT, '--model', TINY);
      assert.equal(full.status, 1);
      assert.match(full.stderr, /^bitmar: [^\n]*(output|written)[^\n]*\n$/);
      const closed = await runner(['bash', '-c', '"$@" | exec true; exit $PIPESTATUS', 'sh', ...program])('caption', ...Array(40).fill(CAT), '--jsonl', '--model', TINY);
      assert.ok(closed.status > 0, `${closed.status}`);
      assert.doesNotMatch(closed.stderr, /\n\s+at |Unhandled|terminate called/);
    });

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
      const [, { error, photo, question }] = jsonLines(lost.stdout);
      assert.deepEqual([error.code, photo, question], ['missing_file', 'nowhere.jpg', 'is it a dog?']);
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

    test('a photo, a list and questions from standard input', async (t) => {
      const plain = await bitmar('caption', CAT, '--model', TINY);
      assert.deepEqual(await runner(program, CAT)('caption', '-', '--model', TINY), plain);
      const folder = await album(t);
      await writeFile(join(folder, 'list'), `${CAT}\n${COFFEE}\n`);
      const listed = await runner(program, join(folder, 'list'))('caption', '--list', '-', '--jsonl', '--model', TINY);
      assert.deepEqual(jsonLines(listed.stdout).map(({ photo }) => photo), [CAT, COFFEE]);
      assert.equal((await runner(program, CAT)('ask', '-', 'is it a cat?', '--model', TINY)).stdout, (await bitmar('ask', CAT, 'is it a cat?', '--model', TINY)).stdout);
      assert.match((await runner(program, join(folder, 'notes.txt'))('caption', '-', '--model', TINY)).stderr, /^bitmar: (invalid|unsupported)_image: /);
    });

    test('folders: the photos in them, by their paths; what goes wrong with one ends nothing, and 1', async (t) => {
      const folder = await album(t);
      const photos = ['a.jpeg', 'b/cat.JPG', 'b/deeper.jpg/x.jpg', 'broken.png'].map((name) => `${folder}/${name}`);
      for (const name of [folder, `${folder}/`]) {
        const { status, stdout, stderr } = await bitmar('caption', name, 'nowhere.jpg', `${folder}/empty`, CAT, '--jsonl', '--model', TINY);
        assert.deepEqual([status, stderr], [1, '']);
        const lines = jsonLines(stdout);
        assert.deepEqual(lines.map(({ photo }) => photo), [...photos, 'nowhere.jpg', `${folder}/empty`, CAT]);
        assert.match(lines[3].error.code, /^(invalid|unsupported)_image$/);
        assert.deepEqual(lines.map(({ error, text }) => (error ? [typeof error.message, text] : typeof text)).filter((each) => each !== 'string'), Array(3).fill(['string', undefined]));
        assert.deepEqual([lines[4].error.code, lines[5].error.code], ['missing_file', 'missing_file']);
      }
      const { status, stdout, stderr } = await bitmar('caption', 'nowhere.jpg', CAT, `${folder}/broken.png`, '--model', TINY);
      assert.equal(status, 1);
      assert.equal(stdout, (await bitmar('caption', CAT, '--model', TINY)).stdout);
      assert.match(stderr, /^bitmar: missing_file: nowhere\.jpg: .+\nbitmar: \w+_image: .+broken\.png: .+\n$/);
      const asked = await bitmar('ask', folder, 'is it a cat?', '--jsonl', '--model', TINY);
      assert.deepEqual(jsonLines(asked.stdout).map(({ photo, question }) => [photo, question]), photos.map((photo) => [photo, 'is it a cat?']));
    });

    test('a question of a list that cannot be asked ends nothing; a wrong option ends everything', async (t) => {
      const folder = await album(t);
      await writeFile(join(folder, 'list'), `${CAT}\t \n${CAT}\t${'word '.repeat(1000)}\n${CAT}\tis it a cat?\n`);
      const { status, stdout } = await bitmar('ask', '--list', join(folder, 'list'), '--jsonl', '--model', TINY);
      assert.equal(status, 1);
      assert.deepEqual(jsonLines(stdout).map(({ error, answer }) => error?.code ?? typeof answer), ['invalid_argument', 'text_too_long', 'string']);
      const wrong = await bitmar('caption', CAT, COFFEE, '--max-tokens', '0', '--model', TINY);
      assert.deepEqual([wrong.status, wrong.stdout, wrong.stderr.split('\n').length], [1, '', 2]);
    });

    test('errors as JSON, also of what all photos need', async () => {
      for (const [args, code] of [
        [['caption', 'nowhere.jpg', '--json', '--model', TINY], 'missing_file'],
        [['caption', CAT, '--json', '--model', path('src')], 'missing_file'],
        [['caption', CAT, '--jsonl', '--model', TINY, '--temperature', '-1'], 'invalid_argument'],
        [['embed', CAT, 'nowhere.jpg', '--json', '--model', path('src')], 'missing_file'],
        [['info', '--json', '--model', path('src')], 'missing_file'],
        [['ask', '--list', 'nowhere.txt', '--json', '--model', TINY], 'missing_file'],
      ]) {
        const { status, stdout, stderr } = await bitmar(...args);
        assert.deepEqual([status, stderr], [1, ''], args.join(' '));
        const [{ error }] = jsonLines(stdout);
        assert.equal(error.code, code);
        assert.ok(error.message);
      }
    });

    test('embed: unit vectors of photos and texts', async (t) => {
      const folder = await album(t);
      await writeFile(join(folder, 'texts'), 'a cat\na dog\n');
      const model = await BitMar.load(TINY);
      const wanted = await Promise.all([{ image: await sample('cat') }, { text: 'a horse' }, { text: 'a cat' }, { text: 'a dog' }].map((what) => model.embed(what)));
      model.dispose();
      const { status, stdout } = await bitmar('embed', CAT, 'nowhere.jpg', '--text', 'a horse', '--texts', join(folder, 'texts'), '--model', TINY);
      assert.equal(status, 1);
      const [cat, nowhere, ...texts] = stdout.startsWith('{') ? jsonLines(stdout) : [];
      assert.equal(cat.photo, CAT);
      const found = [cat, ...(nowhere.embedding ? [nowhere, ...texts] : texts)];
      assert.deepEqual(found.slice(1).map(({ text }) => text), ['a horse', 'a cat', 'a dog']);
      for (const [i, { embedding }] of found.entries()) {
        assert.equal(embedding.length, wanted[i].length);
        embedding.forEach((value, at) => assert.ok(Math.abs(value - wanted[i][at]) < 1e-6));
      }
    });

    test('score: how likely texts are, after a prefix and a photo', async (t) => {
      const folder = await album(t);
      await writeFile(join(folder, 'texts'), ' runs\n in the snow\n');
      const model = await BitMar.load(TINY);
      for (const photo of [undefined, CAT]) {
        const image = photo && (await sample('cat'));
        const wanted = await model.score('a dog', [' sits', ' runs', ' in the snow'], { image });
        const { status, stdout } = await bitmar('score', ...(photo ? [photo] : []), '--prefix', 'a dog', '--text', ' sits', '--texts', join(folder, 'texts'), '--model', TINY);
        assert.equal(status, 0);
        const lines = jsonLines(stdout);
        assert.deepEqual(lines.map(({ text }) => text), [' sits', ' runs', ' in the snow']);
        for (const [i, { log_probability, per_token, per_byte, tokens, log_probabilities }] of lines.entries()) {
          const { logProbability, perToken, perByte } = wanted[i];
          assert.deepEqual(tokens, wanted[i].tokens);
          assert.equal(log_probabilities.length, tokens.length);
          for (const [found, expected] of [[log_probability, logProbability], [per_token, perToken], [per_byte, perByte]]) assert.ok(Math.abs(found - expected) < 1e-6, `${found}, ${expected}`);
        }
      }
      model.dispose();
      // As it stands, also where it looks like a number or an option; lists and texts in their order.
      const given = await bitmar('score', '--text', '-5', '--texts', join(folder, 'texts'), '--text=-x', '--text', '-.5', '--model', TINY);
      assert.deepEqual(jsonLines(given.stdout).map(({ text }) => text), ['-5', ' runs', ' in the snow', '-x', '-.5']);
      for (const args of [['score', '--model', TINY], ['score', CAT, CAT, '--text', 'a', '--model', TINY], ['caption', CAT, '--prefix=', '--model', TINY]]) assert.equal((await bitmar(...args)).status, 2, args.join(' '));
      const failed = await bitmar('score', '--text', ' a', '--text', '', '--json', '--model', TINY);
      assert.equal(failed.status, 1);
      assert.equal(jsonLines(failed.stdout)[0].error.code, 'invalid_argument');
    });

    test('complete: what goes on from a prefix, and after a photo', async () => {
      const model = await BitMar.load(TINY);
      for (const photo of [undefined, CAT]) {
        const image = photo && (await sample('cat'));
        const wanted = await model.complete('a dog', { image, maxTokens: 9, temperature: 1, seed: 4 });
        const args = ['complete', ...(photo ? [photo] : []), '--prefix', 'a dog', '--max-tokens', '9', '--temperature', '1', '--seed', '4', '--model', TINY];
        const { status, stdout } = await bitmar(...args);
        assert.equal(status, 0);
        assert.equal(stdout, `${wanted.text}\n`);
        const [{ text, tokens, log_probability }] = jsonLines((await bitmar(...args, '--json')).stdout);
        assert.deepEqual({ text, tokens }, { text: wanted.text, tokens: wanted.tokens });
        assert.ok(Math.abs(log_probability - wanted.logProbability) < 1e-5);
      }
      model.dispose();
      for (const wrong of [[CAT, CAT], ['--prompt='], ['--beams', '1'], ['--length-penalty', '2'], ['--text', 'a']]) assert.equal((await bitmar('complete', ...wrong, '--model', TINY)).status, 2, wrong.join(' '));
    });

    test('info: the kernels, the threads, and the bytes by purpose', async () => {
      const { status, stdout } = await bitmar('info', '--model', TINY, '--threads', '1');
      assert.equal(status, 0);
      for (const row of [/^kernels +\w+/m, /^threads +1$/m, /^parameters +\d+$/m, /^weights +\d+ bytes$/m, /^kv cache +\d+ bytes$/m, /^memory slots +\d+ bytes$/m, /^total +\d+ bytes$/m]) assert.match(stdout, row);
      const { kernels, threads, parameters, bytes } = JSON.parse((await bitmar('info', '--json', '--model', TINY)).stdout);
      assert.ok(kernels && threads === 1);
      assert.equal(parameters, 87_964);
      assert.deepEqual(Object.keys(bytes), ['weights', 'activations', 'kv_cache', 'memory_slots', 'scratch', 'total']);
      assert.match(stdout, new RegExp(`^weights +${bytes.weights} bytes$`, 'm'));
    });

    test('threads change nothing; their number is checked', async () => {
      const one = await bitmar('caption', CAT, '--json', '--model', TINY);
      const two = await bitmar('caption', CAT, '--json', '--model', TINY, '--threads', '2');
      assert.deepEqual(timeless(two.stdout), timeless(one.stdout));
      assert.match((await bitmar('caption', CAT, '--model', TINY, '--threads', '65')).stderr, /^bitmar: invalid_argument: /);
    });

    test('a progress bar on a terminal, and nowhere else', async (t) => {
      if (!existsSync('/usr/bin/script')) return t.skip('there is no script(1)');
      const quoted = [...program, 'caption', CAT, COFFEE, '--model', TINY].map((word) => `'${word}'`).join(' ');
      const folder = await album(t);
      const shown = await runner(['/usr/bin/script', '-qec', `${quoted} >${folder}/out`, '/dev/null'])();
      assert.match(shown.stdout, /\[#{15}\.{15}\] 1\/2/);
      assert.equal(await readFile(join(folder, 'out'), 'utf8'), (await bitmar('caption', CAT, COFFEE, '--model', TINY)).stdout);
      assert.equal((await bitmar('caption', CAT, COFFEE, '--model', TINY)).stderr, '');
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
      for (const args of [[], ['sing'], ['caption'], ['caption', CAT, '--beams', 'x'], ['caption', CAT, '--tea'], ['ask'], ['ask', CAT], ['ask', CAT, 'what?', 'where?'], ['embed'], ['info', CAT], ['caption', CAT, '--text', 'a'], ['caption', CAT, '--threads', 'x']]) {
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

const nativeOnly = { skip: PROGRAMS.native[0] ? false : 'the native one is not built' };

test('natively a list of 16 MB takes little more', { skip: PROGRAMS.native[0]?.includes('release') ? false : 'the release is not built' }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bitmar-list-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'list'), `${'a/'.repeat(2000)}\n`.repeat(3900));
  // 200 MB of addresses: the list took 750.
  const limited = runner(['bash', '-c', 'ulimit -v 200000; "$@"', 'sh', ...PROGRAMS.native]);
  const { status, stderr } = await limited('caption', '--list', join(folder, 'list'), '--model', TINY);
  assert.equal(status, 1);
  assert.match(stderr, /^bitmar: missing_file: /);
});

test('natively kernels that there are not are named', nativeOnly, async () => {
  const bitmar = (kernels) => runner(['env', `BITMAR_KERNELS=${kernels}`, ...PROGRAMS.native])('info', '--model', TINY);
  const [none, scalar, unknown] = [await bitmar(''), await bitmar('scalar'), await bitmar('avx1024')];
  assert.equal(none.status, 0);
  assert.match(scalar.stdout, /^kernels +scalar$/m);
  assert.deepEqual([unknown.status, unknown.stdout], [1, '']);
  assert.match(unknown.stderr, /^bitmar: invalid_argument: [^\n]*BITMAR_KERNELS/);
});

test('both say the same', nativeOnly, async () => {
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

test('bitmar serve: the page where it is built, and where it is not, how to come by it', async (t) => {
  const program = path('web/bitmar/dist/cli.js');
  const { spawn } = await import('node:child_process');
  if (existsSync(path('web/demo/dist/index.html'))) {
    const child = spawn(process.execPath, [program, 'serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill());
    const [url] = await new Promise((resolve) => child.stdout.once('data', (data) => resolve(String(data).split('\n'))));
    assert.match(await (await fetch(url)).text(), /<title>.*BitMar/i);
    const taken = await runner([process.execPath, program])('serve', '--port', new URL(url).port);
    assert.equal(taken.status, 1);
    assert.match(taken.stderr, /^bitmar: network: Port \d+ cannot be used/);
  }
  // As it is installed: without the repository around it.
  const folder = await mkdtemp(join(tmpdir(), 'bitmar-installed-'));
  t.after(() => rm(folder, { recursive: true }));
  const { cp } = await import('node:fs/promises');
  await cp(path('web/bitmar/dist'), join(folder, 'node_modules/bitmar/dist'), { recursive: true });
  await cp(path('web/bitmar/package.json'), join(folder, 'node_modules/bitmar/package.json'));
  const lacking = await runner([process.execPath, join(folder, 'node_modules/bitmar/dist/cli.js')])('serve');
  assert.equal(lacking.status, 1);
  assert.match(lacking.stderr, /^bitmar: missing_file: .*not part of the npm package.*npm run demo/);
  for (const args of [['serve', 'x.jpg'], ['serve', '--port', 'x']]) assert.equal((await runner([process.execPath, program])(...args)).status, 2);
});
