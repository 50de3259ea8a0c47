// What goes on from a text, through the package.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, golden, MODEL, picture, png, sample, TINY } from './helpers.mjs';

describe('completions', () => {
  let model, source;
  before(async () => {
    model = await BitMar.load(TINY, { memory: { persist: false } });
    source = { data: Uint8Array.from(await golden('pixels')), width: 32, height: 32 };
  });
  after(() => model.dispose());

  test('are captions that begin as they are told', async () => {
    const trained = await BitMar.load(MODEL, { memory: { persist: false } });
    const image = await sample('cat');
    const { text } = await trained.caption(image);
    const words = text.split(' ');
    for (const cut of [0, 1, 3]) {
      const prefix = words.slice(0, cut).join(' ');
      assert.equal(prefix + (await trained.complete(prefix, { image })).text, text);
    }
    const [begun] = await trained.score('', ['a close up of'], { image });
    const whole = await trained.complete('a close up of', { image });
    assert.match(whole.text, /^ \w+/);
    const [together] = await trained.score('', [`a close up of${whole.text}`], { image, end: true });
    assert.ok(Math.abs(begun.logProbability + whole.logProbability - together.logProbability) < 1e-4);
    assert.notEqual((await trained.complete('a close up of')).text, whole.text, 'the picture counts');
    trained.dispose();
  });

  test('are the same of any source, in a worker or here, streamed or whole', async () => {
    const image = picture(40, 30);
    const options = { maxTokens: 30, temperature: 1.2, topP: 0.9, seed: 7 };
    const here = await BitMar.load(TINY, { worker: false });
    const pieces = [];
    const wanted = await model.complete('a dog', { ...options, image, onToken: (piece) => pieces.push(piece) });
    assert.equal(pieces.join(''), wanted.text);
    assert.ok(wanted.timings.totalMs >= wanted.timings.textMs && wanted.timings.textMs > 0);
    const { timings, ...same } = await here.complete('a dog', { ...options, image: new Blob([png(image)]) });
    assert.deepEqual({ ...same, timings: wanted.timings }, wanted);
    assert.ok(timings);
    const other = await here.complete('a dog', { ...options, image, seed: 8 });
    assert.notDeepEqual(other.tokens, wanted.tokens);
    assert.equal((await here.complete('', options)).tokens.length > 0, true);
    here.dispose();
  });

  test('go on for longer than the window, and stop where they are told to', async () => {
    const options = { maxTokens: 400, temperature: 1, seed: 1 };
    const long = 'two dogs run '.repeat(60);
    const trained = await BitMar.load(MODEL, { memory: { persist: false } });
    const longer = 'two dogs run on the grass and '.repeat(160);
    const { tokens, text, logProbability } = await trained.complete(longer, { maxTokens: 3 });
    const [score] = await trained.score(longer, [text], { end: tokens.length < 3 });
    trained.dispose();
    assert.deepEqual(score.tokens.slice(0, tokens.length), tokens);
    assert.ok(Math.abs(score.logProbability - logProbability) < 1e-5, `${score.logProbability}, ${logProbability}`);
    assert.ok((await model.complete(long, options)).tokens.length > 0);
    const stop = new AbortController();
    let pieces = 0;
    await assert.rejects(model.complete('a', { ...options, maxTokens: 2 ** 20, temperature: 1000, signal: stop.signal, onToken: () => (pieces += 1) === 5 && stop.abort() }), code('aborted'));
    // While it reads, too: here in this thread, where nothing but the engine itself can stop.
    const here = await BitMar.load(TINY, { worker: false });
    await assert.rejects(here.complete('two dogs run '.repeat(60_000), { signal: AbortSignal.timeout(30) }), code('aborted'));
    assert.ok((await here.caption(source)).text);
    here.dispose();
    assert.ok((await model.caption(source)).text);
  });

  test('leave captions, answers and the memory as they were', async () => {
    const { tokens, logProbability, confidence } = await model.caption(source);
    const { occupied } = await model.memory.stats();
    await model.complete('a man in a red shirt', { image: source });
    const again = await model.caption(source);
    assert.deepEqual([again.tokens, again.logProbability, again.confidence], [tokens, logProbability, confidence]);
    assert.equal((await model.memory.stats()).occupied, occupied);
  });

  test('refuse what is wrong, and the next call works', async () => {
    for (const [args, expected] of [
      [[], 'invalid_argument'],
      [[7], 'invalid_argument'],
      [['a', null], 'invalid_argument'],
      [['a', { maxTokens: 0 }], 'invalid_argument'],
      [['a', { temperature: -1 }], 'invalid_argument'],
      [['a', { topP: 0 }], 'invalid_argument'],
      [['a', { seed: 0.5 }], 'invalid_argument'],
      [['a', { image: 'photo.jpg' }], 'invalid_argument'],
      [['a', { onToken: 'print' }], 'invalid_argument'],
      [['a', { signal: AbortSignal.abort() }], 'aborted'],
      [['\ud800'], 'invalid_text'],
      [['a'.repeat(2 ** 20 + 1)], 'text_too_long'],
    ]) {
      await assert.rejects(model.complete(...args), code(expected), JSON.stringify(args).slice(0, 80));
    }
    assert.ok((await model.complete('a dog')).logProbability < 0);
  });
});
