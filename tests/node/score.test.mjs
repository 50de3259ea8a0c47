// How likely texts are, through the package.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, golden, MODEL, picture, png, sample, TINY } from './helpers.mjs';

const near = (a, b, tolerance) => assert.ok(Math.abs(a - b) <= tolerance, `${a}, not ${b}`);
const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);

describe('scores', () => {
  let model, source;
  before(async () => {
    model = await BitMar.load(TINY, { memory: { persist: false } });
    source = { data: Uint8Array.from(await golden('pixels')), width: 32, height: 32 };
  });
  after(() => model.dispose());

  test('are those of PyTorch', async () => {
    const text = async (name) => Buffer.from(await golden(name)).toString();
    const prefix = await text('score_prefix');
    const continuations = await Promise.all([0, 1, 2].map((i) => text(`score_continuation/${i}`)));
    for (const [name, image] of [['image', source], ['text', undefined]]) {
      const scores = await model.score(prefix, continuations, { image });
      for (const [i, { tokens, logProbabilities, logProbability, perToken, perByte }] of scores.entries()) {
        const wanted = [...(await golden(`score_${name}/${i}`))];
        assert.equal(logProbabilities.length, wanted.length);
        for (const [at, likely] of logProbabilities.entries()) near(likely, wanted[at], 1e-3);
        near(logProbability, sum(logProbabilities), 1e-12);
        near(perToken, logProbability / tokens.length, 1e-12);
        near(perByte, logProbability / continuations[i].length, 1e-12);
      }
    }
  });

  test('are the same alone and among others, of any source, in a worker or here', async () => {
    const image = picture(40, 30);
    const here = await BitMar.load(TINY, { worker: false });
    const texts = [' runs', ' in the snow', ' runs'];
    const wanted = await model.score('a dog', texts, { image });
    assert.deepEqual(wanted[0], wanted[2]);
    assert.deepEqual((await model.score('a dog', [' in the snow'], { image }))[0], wanted[1]);
    assert.deepEqual(await here.score('a dog', texts, { image: new Blob([png(image)]) }), wanted);
    assert.notDeepEqual(await here.score('a dog', texts), wanted);
    here.dispose();
  });

  test('tell what a photo shows', async () => {
    const trained = await BitMar.load(MODEL, { memory: { persist: false } });
    const things = [' cat', ' cup', ' bus', ' horse'];
    for (const [name, thing] of [['cat', ' cat'], ['coffee', ' cup']]) {
      const scores = await trained.score('a', things, { image: await sample(name) });
      const best = Math.max(...scores.map(({ logProbability }) => logProbability));
      assert.equal(things[scores.findIndex(({ logProbability }) => logProbability === best)], thing);
    }
    trained.dispose();
  });

  test('count the end where that is asked for: captions as captions count', async () => {
    const { text, tokens, logProbability } = await model.caption(source, { maxTokens: 12 });
    const [ended] = await model.score('', [text], { image: source, end: true });
    const [open] = await model.score('', [text], { image: source });
    assert.equal(ended.tokens.length, open.tokens.length + 1);
    assert.ok(ended.logProbability < open.logProbability);
    const trained = await BitMar.load(MODEL, { memory: { persist: false } });
    const photo = await sample('cat');
    const said = await trained.caption(photo, { numBeams: 8 });
    const [same] = await trained.score('', [said.text], { image: photo, end: true });
    assert.deepEqual(same.tokens.slice(0, -1), said.tokens);
    near(same.logProbability, said.logProbability, 1e-6);
    trained.dispose();
    assert.ok(tokens.length > 0 && logProbability < 0);
  });

  test('go on past the window', async () => {
    const long = ' a dog runs on the grass and a boy in a red shirt is on the beach'.repeat(4);
    const [score] = await model.score('two', [long]);
    assert.ok(score.tokens.length > 64 && score.logProbabilities.every((likely) => likely < 0));
    assert.deepEqual((await model.score(`two${long}`, [' runs', long, ' runs'])).at(0), (await model.score(`two${long}`, [' runs'])).at(0));
  });

  test('take what the caller had, and change no caption', async () => {
    const { tokens, logProbability } = await model.caption(source);
    const texts = [' runs'];
    const scores = model.score('a dog', texts);
    texts.push(' sits');
    assert.equal((await scores).length, 1);
    const again = await model.caption(source);
    assert.deepEqual([again.tokens, again.logProbability], [tokens, logProbability]);
  });

  test('refuse what is wrong, and the next call works', async () => {
    for (const [args, expected] of [
      [['a', []], 'invalid_argument'],
      [['a', [' b', '']], 'invalid_argument'],
      [['a', ' b'], 'invalid_argument'],
      [['a', [7]], 'invalid_argument'],
      [['a', Object.defineProperty([' b'], 0, { get() { throw new Error('mine'); } })], 'invalid_argument'],
      [['a', new Proxy([' b'], { get() { throw new Error('mine'); } })], 'invalid_argument'],
      [['a', [' b'], { end: 'yes' }], 'invalid_argument'],
      [['a', undefined], 'invalid_argument'],
      [[undefined, [' b']], 'invalid_argument'],
      [['a', [' b'], null], 'invalid_argument'],
      [['a', [' b'], { image: 'photo.jpg' }], 'invalid_argument'],
      [['a', [' b'], { image: { features: new Float32Array(16 * 36) } }], 'invalid_argument'],
      [['a', [' b'], { signal: AbortSignal.abort() }], 'aborted'],
      [['\ud800', [' b']], 'invalid_text'],
      [['a', ['\ud800']], 'invalid_text'],
      [['a'.repeat(2 ** 20 + 1), [' b']], 'text_too_long'],
      [['a', ['b'.repeat(2 ** 20 + 1)]], 'text_too_long'],
    ]) {
      await assert.rejects(model.score(...args), code(expected), String(expected));
    }
    assert.equal((await model.score('', ['a'])).length, 1);
    // Read once: what was checked is what is scored.
    let reads = 0;
    const texts = Object.defineProperty(['', ' b'], 0, { get: () => ((reads += 1) === 1 ? ' runs' : '\ud800') });
    assert.deepEqual((await model.score('a dog', texts))[0], (await model.score('a dog', [' runs']))[0]);
  });
});
