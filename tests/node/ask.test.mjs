// Questions about a picture, through the package.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, golden, picture, png, tinyFiles, TINY } from './helpers.mjs';

const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-3, `${a}, not ${b}`);

describe('questions', () => {
  let model, source, question;
  before(async () => {
    model = await BitMar.load(TINY);
    source = { data: Uint8Array.from(await golden('pixels')), width: 32, height: 32 };
    question = Buffer.from(await golden('question_text')).toString();
  });
  after(() => model.dispose());

  test('are answered as PyTorch answers them', async () => {
    assert.equal(model.info.canAsk, true);
    const greedy = await model.ask(source, question);
    assert.deepEqual(greedy.tokens, await golden('ask/greedy'));
    near(greedy.logProbability, (await golden('ask/log_probability'))[0]);
    const beams = await model.ask(source, question, { numBeams: 3 });
    assert.deepEqual(beams.tokens, await golden('ask/beam'));
    near(beams.logProbability, (await golden('ask/beam_score'))[0]);
    for (const { answer, declined, confidence, logProbability, timings } of [greedy, beams]) {
      assert.ok(answer);
      assert.equal(declined, false);
      assert.ok(Math.abs(confidence / Math.exp(logProbability) - 1) < 1e-9);
      assert.ok(timings.visionMs > 0 && timings.textMs > 0 && timings.totalMs >= timings.visionMs);
    }
  });

  test('may have any case and spaces, and keep their question mark', async () => {
    const { logProbability } = await model.ask(source, question);
    assert.equal((await model.ask(source, `  ${question.toUpperCase().replace(' ', '\n\u00a0')} `)).logProbability, logProbability);
    assert.notEqual((await model.ask(source, question.replace('?', ''))).logProbability, logProbability);
    assert.notEqual((await model.ask(source, '<ask>a dog')).logProbability, (await model.ask(source, 'a dog')).logProbability);
  });

  test('of any source, in a worker or here, give the same', async () => {
    const image = picture(40, 30);
    const here = await BitMar.load(TINY, { worker: false });
    const wanted = await model.ask(image, question);
    for (const [asked, same] of [[here, image], [model, new Blob([png(image)])], [here, new Blob([png(image)])]]) {
      const { answer, tokens, logProbability } = await asked.ask(same, question);
      assert.deepEqual({ answer, tokens, logProbability }, { answer: wanted.answer, tokens: wanted.tokens, logProbability: wanted.logProbability });
    }
    const features = new Float32Array(16 * 36).fill(0.25);
    assert.deepEqual((await model.ask({ features: features.slice() }, question)).tokens, (await here.ask({ features }, question)).tokens);
    here.dispose();
  });

  test('stop at maxTokens', async () => {
    const whole = await model.ask(source, question);
    const short = await model.ask(source, question, { maxTokens: 2 });
    assert.deepEqual(short.tokens, whole.tokens.slice(0, 2));
  });

  test('without an answer are declined', async () => {
    const [first] = (await model.ask(source, question)).tokens;
    const silent = await BitMar.load(await tinyFiles((config) => (config.eos_token_id = first)));
    const { answer, declined, tokens, confidence } = await silent.ask(source, question);
    assert.deepEqual({ answer, declined, tokens }, { answer: '', declined: true, tokens: [] });
    assert.ok(confidence > 0 && confidence < 1);
    silent.dispose();
  });

  test('change no caption, and what is remembered changes no answer', async () => {
    const own = await BitMar.load(TINY);
    const caption = await own.caption(source, { readMemory: false });
    const answer = await own.ask(source, question);
    assert.equal((await own.caption(source, { readMemory: false })).logProbability, caption.logProbability);
    // What is written is the picture of its caption, whatever was asked about another one before.
    const other = await BitMar.load(TINY);
    const written = [];
    for (const model of [own, other]) {
      if (model === own) await model.ask(picture(20, 20, 3), question);
      await model.memory.write(picture(20, 20, 7));
      if (model === own) await model.ask(picture(20, 20, 3), question);
      written.push((await model.memory.recall({ image: picture(20, 20, 7) })).matches.map(({ id, similarity }) => [id, similarity]));
    }
    assert.deepEqual(written[0], written[1]);
    assert.equal(written[0].length, 1);
    assert.equal((await own.ask(source, question)).logProbability, answer.logProbability);
    own.dispose();
    other.dispose();
  });

  test('wait their turn, and can be aborted', async () => {
    const order = [];
    const note = (name) => () => order.push(name);
    const gone = new AbortController();
    const calls = [
      model.ask(source, question).then(note('first')),
      assert.rejects(model.ask(source, question, { signal: gone.signal }), code('aborted')),
      model.ask(source, 'another?').then(note('second')),
      model.caption(source).then(note('caption')),
    ];
    gone.abort();
    await Promise.all(calls);
    assert.deepEqual(order, ['first', 'second', 'caption']);
    await assert.rejects(model.ask(source, question, { signal: AbortSignal.abort() }), code('aborted'));
    // The one under way: the caller hears at once, and the next call works.
    const running = new AbortController();
    const stopped = model.ask(picture(2000, 2000), question, { signal: running.signal });
    for (let i = 0; i < 100; i += 1) await undefined; // it has begun, and no message of the worker can have come
    running.abort();
    await assert.rejects(stopped, code('aborted'));
    assert.ok((await model.ask(source, question)).tokens.length);
  });

  test('that are none are typed errors', async () => {
    for (const [asked, options, expected] of [
      ['', {}, 'invalid_argument'],
      [' \n\t\u00a0', {}, 'invalid_argument'],
      [undefined, {}, 'invalid_argument'],
      [7, {}, 'invalid_argument'],
      ['x1y2z3x1y2z3x1y2z3', {}, 'text_too_long'],
      [question, { numBeams: 0 }, 'invalid_argument'],
      [question, { numBeams: 9 }, 'invalid_argument'],
      [question, { numBeams: 1.5 }, 'invalid_argument'],
      [question, { maxTokens: 0 }, 'invalid_argument'],
      [question, { maxTokens: '5' }, 'invalid_argument'],
    ]) {
      await assert.rejects(model.ask(source, asked, options), code(expected), `${asked} ${JSON.stringify(options)}`);
    }
    await assert.rejects(model.ask(new Blob(['no picture']), question), code('invalid_image', 'unsupported_image'));
    assert.ok((await model.ask(source, question)).tokens.length);
  });

  test('are refused by a model that answers none', async () => {
    const mute = await BitMar.load(await tinyFiles((config) => delete config.ask));
    assert.equal(mute.info.canAsk, false);
    await assert.rejects(mute.ask(source, question), code('unsupported'));
    assert.equal((await mute.caption(source)).logProbability, (await model.caption(source)).logProbability);
    mute.dispose();
    await assert.rejects(mute.ask(source, question), code('disposed'));
  });

  test('need an ask token that no text holds', async () => {
    await assert.rejects(BitMar.load(await tinyFiles((config) => (config.ask.token_id = 299))), code('invalid_model'));
    for (const wrong of [305, 2, '<ask>']) {
      await assert.rejects(BitMar.load(await tinyFiles((config) => (config.ask.token_id = wrong))), code('invalid_config'));
    }
  });
});
