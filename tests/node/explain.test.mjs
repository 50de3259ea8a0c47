// How a caption comes about, through the package.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, golden, MODEL, picture, png, sample, TINY } from './helpers.mjs';

const near = (a, b, tolerance = 1e-5) => assert.ok(Math.abs(a - b) <= tolerance, `${a}, not ${b}`);
const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);
const whole = ({ patches, prompt, memory, before }) => sum(patches) + prompt + memory + before;

describe('explanations', () => {
  let model, source;
  before(async () => {
    model = await BitMar.load(TINY, { memory: { persist: false } });
    source = { data: Uint8Array.from(await golden('pixels')), width: 32, height: 32 };
  });
  after(() => model.dispose());

  test('divide what each word looked at', async () => {
    const { side, words, expected, memory } = await model.explain(source, 'two dogs, on the sand', { prompt: 'a dog' });
    assert.equal(side, 2);
    assert.deepEqual(words.map(({ text }) => text), ['two', 'dogs,', 'on', 'the', 'sand']);
    for (const word of words) {
      assert.equal(word.patches.length, 4);
      near(whole(word), 1);
      assert.equal(word.memory, 0);
      assert.ok(word.probability > 0 && word.probability < 1);
    }
    assert.equal(expected.length, 12);
    assert.ok(expected.every(({ text, probability }) => text && probability > 0 && probability < 1));
    assert.deepEqual(memory, []);
  });

  test('of the words expected, tell as many as are wanted', async () => {
    const most = await model.explain(source, 'a dog', { expected: 1000 });
    const few = await model.explain(source, 'a dog', { expected: 3 });
    assert.deepEqual(few.expected, most.expected.slice(0, 3));
    assert.deepEqual((await model.explain(source, 'a dog', { expected: 0 })).expected, []);
  });

  test('are the same for any source, in a worker or here', async () => {
    const image = picture(40, 30);
    const here = await BitMar.load(TINY, { worker: false });
    const wanted = await model.explain(image, 'a dog');
    assert.deepEqual(await here.explain(image, 'a dog'), wanted);
    assert.deepEqual(await model.explain(new Blob([png(image)]), 'a dog'), wanted);
    here.dispose();
  });

  test('have words, whatever spaces are between and around them', async () => {
    const texts = async (text) => (await model.explain(source, text)).words.map((word) => word.text);
    assert.deepEqual(await texts(' a  dog\nsits '), ['a', 'dog', 'sits']);
    assert.deepEqual(await texts('  '), []);
  });

  test('are those of captions: their probability, and as much as they read of the memory', async () => {
    const trained = await BitMar.load(MODEL, { memory: { persist: false } });
    for (const name of ['cat', 'coffee', 'raccoon']) {
      const photo = await sample(name);
      const { text, logProbability } = await trained.caption(photo, { numBeams: 8 });
      const { side, words } = await trained.explain(photo, text);
      assert.equal(side, 4);
      assert.equal(words.map((word) => word.text).join(' '), text);
      // The caption's own holds its end, too.
      assert.ok(sum(words.map(({ probability }) => Math.log(probability))) >= logProbability - 1e-6, text);
      assert.ok(words.some(({ patches }) => sum(patches) > 0.1), 'it looks at the picture');
    }
    const photo = await sample('cat');
    const { id } = await trained.memory.write(photo);
    assert.deepEqual((await trained.explain(photo, 'a cat', { readMemory: false })).memory, []);
    const { words, memory } = await trained.explain(photo, 'a cat'); // it reads once it is in use, as captions do
    assert.equal(memory[0].id, id);
    near(sum(memory.map(({ share }) => share)), 1);
    assert.ok(words.every((word) => word.memory > 0));
    // A caption's own episode, which it did not have.
    const { text, episode } = await trained.caption(await sample('coffee'), { writeMemory: true });
    const ids = async (options) => (await trained.explain(await sample('coffee'), text, options)).memory.map((read) => read.id);
    assert.ok((await ids({})).includes(episode.id));
    assert.ok(!(await ids({ withoutEpisode: episode.id })).includes(episode.id));
    trained.dispose();
  });

  test('open the memory that they are to read', async () => {
    const fresh = await BitMar.load(TINY, { memory: { persist: false } });
    await fresh.explain(source, 'a dog', { readMemory: true });
    assert.equal((await fresh.memory.stats()).occupied, 0);
    await fresh.memory.write(source);
    assert.equal((await fresh.explain(source, 'a dog', { readMemory: true })).memory.length, 1);
    fresh.dispose();
    await assert.rejects(fresh.explain(source, 'a dog'), code('disposed'));
  });

  test('change no caption', async () => {
    const { tokens, logProbability } = await model.caption(source);
    await model.explain(source, 'two dogs');
    const again = await model.caption(source);
    assert.deepEqual([again.tokens, again.logProbability], [tokens, logProbability]);
  });

  test('refuse what is wrong, and the next call works', async () => {
    const long = 'a dog runs on the grass and on the sand and in the water'.repeat(2); // of a window of 32
    for (const [args, ...codes] of [
      [[source, long], 'text_too_long'],
      [[source, 'a'.repeat(70_000)], 'text_too_long'],
      [[source, '\ud800'], 'invalid_text'],
      [[source, undefined], 'invalid_argument'],
      [[source, 7], 'invalid_argument'],
      [[source, 'a dog', null], 'invalid_argument'],
      [[source, 'a dog', { expected: 1001 }], 'invalid_argument'],
      [[source, 'a dog', { expected: 0.5 }], 'invalid_argument'],
      [[source, 'a dog', { prompt: 7 }], 'invalid_argument'],
      [[source, 'a dog', { withoutEpisode: -1 }], 'invalid_argument'],
      [[source, 'a dog', { readMemory: 'yes' }], 'invalid_argument'],
      [[source, 'a dog', { signal: AbortSignal.abort() }], 'aborted'],
      [[undefined, 'a dog'], 'invalid_argument'],
      [[{ features: new Float32Array(16 * 36) }, 'a dog'], 'invalid_argument'],
    ]) {
      await assert.rejects(model.explain(...args), code(...codes), JSON.stringify(args[1]));
    }
    assert.equal((await model.explain(source, '')).words.length, 0);
  });
});
