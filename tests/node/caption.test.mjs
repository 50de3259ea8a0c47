import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, fixture, MODEL, picture, png, rgbOf, sample, SAMPLES, TINY } from './helpers.mjs';

describe('captions', () => {
  let model;
  before(async () => {
    model = await BitMar.load(MODEL);
  });
  after(() => model.dispose());

  test('follow the picture', async () => {
    const texts = new Set();
    for (const name of SAMPLES) texts.add((await model.caption(await sample(name))).text);
    assert.ok(texts.size >= SAMPLES.length - 1, [...texts].join('\n'));
  });

  test('are the same from RGBA, RGB and a PNG file of the same pixels, and leave the caller’s bytes alone', async () => {
    const rgba = picture(123, 77);
    const before = rgba.data.slice();
    const expected = await model.caption(rgba);
    assert.deepEqual(rgba.data, before);
    for (const source of [
      rgbOf(rgba),
      new Blob([png(rgba)]),
      { ...rgba, data: new Uint8ClampedArray(rgba.data) },
      { ...rgba, data: Buffer.from(rgba.data) },
      { ...rgba, data: new Uint8Array([9, 9, ...rgba.data]).subarray(2) },
    ]) {
      const { text, tokens, logProbability } = await model.caption(source);
      assert.deepEqual({ text, tokens, logProbability }, { text: expected.text, tokens: expected.tokens, logProbability: expected.logProbability });
    }
  });

  test('have everything that they promise', async () => {
    const { text, tokens, logProbability, timings } = await model.caption(await sample('astronaut'));
    assert.ok(text.length > 3);
    assert.ok(tokens.length > 1 && tokens.every(Number.isInteger));
    assert.ok(logProbability < 0);
    assert.ok(timings.visionMs > 0 && timings.textMs > 0);
    assert.ok(timings.totalMs >= timings.visionMs);
  });

  test('stream: the pieces, joined, are the text', async () => {
    const source = await sample('coffee');
    const pieces = [];
    const { text } = await model.caption(source, { onToken: (piece) => pieces.push(piece) });
    assert.ok(pieces.length > 2);
    assert.equal(pieces.join('').trim(), text);

    const streamed = [];
    const stream = model.stream(source);
    let next;
    while (!(next = await stream.next()).done) streamed.push(next.value);
    assert.deepEqual(streamed, pieces);
    assert.equal(next.value.text, text);
  });

  test('stop at maxTokens', async () => {
    const { tokens } = await model.caption(await sample('cat'), { maxTokens: 3 });
    assert.ok(tokens.length <= 3);
  });

  test('a search over beams takes the length penalty of the model unless it is given another', async () => {
    const config = JSON.parse(await readFile(`${MODEL}/config.json`, 'utf8'));
    const sources = await Promise.all(['cat', 'coffee', 'astronaut', 'photographer'].map(sample)); // one alone may be said in one way only
    const said = (options) => Promise.all(sources.map(async (source) => (await model.caption(source, { numBeams: 8, ...options })).tokens));
    assert.deepEqual(await said({}), await said({ lengthPenalty: (config.bag_of_words ?? config.words).length_penalty }));
    assert.ok((await said({ lengthPenalty: -9 })).flat().length < (await said({ lengthPenalty: 9 })).flat().length);
  });

  test('what else the beams found comes beside the caption', async () => {
    const source = await sample('coffee');
    const { text, logProbability, alternatives } = await model.caption(source, { numBeams: 8 });
    assert.ok(alternatives.length >= 3, `${alternatives.length}`);
    assert.equal(new Set([text, ...alternatives.map((other) => other.text)]).size, alternatives.length + 1);
    for (const other of alternatives) assert.ok(other.logProbability < 0 && Math.abs(other.logProbability - logProbability) < 20);
    assert.deepEqual((await model.caption(source)).alternatives, []);
  });

  test('sampling is repeatable by its seed', async () => {
    const source = await sample('raccoon');
    const draw = async (seed) => (await model.caption(source, { temperature: 1, topP: 0.95, seed })).text;
    assert.equal(await draw(7), await draw(7));
    const texts = new Set();
    for (let seed = 0; seed < 6; seed += 1) texts.add(await draw(seed));
    assert.ok(texts.size > 1);
  });

  test('take a prompt', async () => {
    const { text } = await model.caption(await sample('cat'), { prompt: 'a photo of' });
    assert.equal(typeof text, 'string');
  });

  test('a picture of one pixel, of one row, and a large one', async () => {
    for (const [width, height] of [[1, 1], [500, 1], [1, 500], [4000, 3000]]) {
      await model.caption(picture(width, height));
    }
  });

  for (const name of ['baseline.jpg', 'progressive.jpg', 'gray.png', 'rgb.png', 'rgba.png', 'palette.png']) {
    test(`decodes ${name}`, async () => {
      assert.ok((await model.caption(await fixture(name))).text);
    });
  }

  test('CMYK is captioned, animated files are refused by name', async () => {
    assert.ok((await model.caption(await fixture('cmyk.jpg'))).text);
    await assert.rejects(model.caption(await fixture('animated.gif')), code('unsupported_image', 'invalid_image'));
  });

  test('bad pictures are typed errors, and the next call works', async () => {
    const good = Buffer.from(await (await sample('cat')).arrayBuffer());
    const cases = [
      [null, 'invalid_argument'],
      ['cat.jpg', 'invalid_argument'],
      [{}, 'invalid_argument'],
      [{ data: [1, 2, 3], width: 1, height: 1 }, 'invalid_argument'],
      [new Blob(['hello']), 'invalid_image', 'unsupported_image'],
      [new Blob([]), 'invalid_image', 'unsupported_image'],
      [new Blob([good.subarray(0, 200)]), 'invalid_image'],
      [{ data: new Uint8Array(0), width: 0, height: 0 }, 'invalid_image'],
      [{ data: new Uint8Array(400), width: -10, height: -10 }, 'invalid_image'],
      [{ data: new Uint8Array(10), width: 10, height: 10 }, 'invalid_image'],
      [{ data: new Uint8Array(400), width: 10.5, height: 10 }, 'invalid_image'],
      [{ data: new Uint8Array(400), width: Number.NaN, height: 10 }, 'invalid_image'],
      [{ data: new Uint8Array(400), width: 30000, height: 30000 }, 'invalid_image', 'image_too_large'],
      [new Blob([png(picture(8, 8), { width: 0, height: 8 })]), 'invalid_image'],
      [new Blob([png(picture(8, 8), { width: 30000, height: 30000 })]), 'image_too_large'],
      [{ features: new Float32Array(5) }, 'invalid_argument', 'invalid_image'],
    ];
    for (const [source, ...codes] of cases) {
      await assert.rejects(model.caption(source), code(...codes), String(codes));
    }
    assert.ok((await model.caption(new Blob([good]))).text);
  });

  test('bad options are typed errors', async () => {
    const source = picture(20, 20);
    const cases = [
      [{ prompt: 7 }, 'invalid_argument'],
      [{ prompt: 'word '.repeat(5000) }, 'text_too_long'],
      [{ prompt: '\ud800' }, 'invalid_text', null], // half a character: refused, or replaced as TextEncoder does
      [{ prompt: '\u{1f600} 漢字' }, null], // bytes: no text lies outside the vocabulary
      [{ maxTokens: 0 }, 'invalid_argument'],
      [{ maxTokens: 1.5 }, 'invalid_argument'],
      [{ maxTokens: '5' }, 'invalid_argument'],
      [{ numBeams: 0 }, 'invalid_argument'],
      [{ numBeams: 1e9 }, 'invalid_argument'],
      [{ temperature: -1 }, 'invalid_argument'],
      [{ temperature: Number.NaN }, 'invalid_argument'],
      [{ topP: 0 }, 'invalid_argument'],
      [{ topP: 2 }, 'invalid_argument'],
      [{ seed: Infinity }, 'invalid_argument'],
    ];
    for (const [options, ...codes] of cases) {
      const call = model.caption(source, options);
      if (codes.includes(null)) await call.catch(code(...codes));
      else await assert.rejects(call, code(...codes), JSON.stringify(options).slice(0, 60));
    }
  });
});

describe('calls', () => {
  test('wait their turn, and are answered in order', async () => {
    const model = await BitMar.load(MODEL);
    const order = [];
    const sources = await Promise.all(SAMPLES.map(sample));
    const alone = [];
    for (const source of sources) alone.push((await model.caption(source)).text);
    const together = await Promise.all(
      sources.map(async (source, i) => {
        const { text } = await model.caption(source);
        order.push(i);
        return text;
      }),
    );
    assert.deepEqual(together, alone);
    assert.deepEqual(order, sources.map((_, i) => i));
    model.dispose();
  });

  test('abort: before, while waiting, between tokens; the others go on', async () => {
    const model = await BitMar.load(MODEL);
    const source = await sample('cat');
    await assert.rejects(model.caption(source, { signal: AbortSignal.abort('why') }), code('aborted'));

    const waiting = new AbortController();
    const running = new AbortController();
    let pieces = 0;
    const first = model.caption(source, {
      signal: running.signal,
      onToken: () => {
        pieces += 1;
        running.abort();
      },
    });
    const second = model.caption(source, { signal: waiting.signal });
    const third = model.caption(source);
    waiting.abort();
    await assert.rejects(second, code('aborted'));
    await assert.rejects(first, code('aborted'));
    assert.equal(pieces, 1);
    assert.ok((await third).text);
    model.dispose();
  });

  test('abort stops the computation itself', async () => {
    const model = await BitMar.load(TINY);
    const image = picture(64, 64);
    // Sampling at a high temperature ends by itself at one token in 300: the first seed that goes on for long.
    const options = { maxTokens: 1000, temperature: 50, seed: 0 };
    let whole = await model.caption(image, options);
    while (whole.tokens.length < 500 && options.seed < 50) {
      options.seed += 1;
      whole = await model.caption(image, options);
    }
    assert.ok(whole.tokens.length >= 500, `${whole.tokens.length} tokens`);
    // By the processor's time, of all threads, which a busy machine does not change.
    const spent = async (work) => {
      const before = process.cpuUsage();
      await work();
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    const all = await spent(() => model.caption(image, options));
    const stopped = await spent(async () => {
      const controller = new AbortController();
      await assert.rejects(model.caption(image, { ...options, signal: controller.signal, onToken: () => controller.abort() }), code('aborted'));
      await model.caption(image, { maxTokens: 1 }); // begins when the other has ended
    });
    assert.ok(stopped < all, `${stopped} us of ${all}`);
    model.dispose();
  });

  test('leaving a stream early stops it', async () => {
    const model = await BitMar.load(MODEL);
    const source = await sample('cat');
    for await (const piece of model.stream(source)) {
      assert.ok(piece);
      break;
    }
    assert.ok((await model.caption(source)).text);
    await assert.rejects(async () => {
      for await (const _ of model.stream(new Blob(['no picture'])));
    }, code('invalid_image', 'unsupported_image'));
    model.dispose();
  });

  test('dispose rejects what is pending and what comes later', async () => {
    const model = await BitMar.load(TINY);
    const image = picture(32, 32);
    const pending = [model.caption(image, { maxTokens: 500 }), model.caption(image)];
    const settled = Promise.allSettled(pending);
    await new Promise((resolve) => setTimeout(resolve, 1));
    model.dispose();
    for (const { reason } of await settled) assert.ok(code('disposed')(reason));
    await assert.rejects(model.caption(image), code('disposed'));
    model.dispose(); // twice does no harm
  });

  test('the same heap after a thousand captions', async () => {
    const model = await BitMar.load(TINY);
    const image = picture(96, 96);
    const run = async (times) => {
      for (let i = 0; i < times; i += 1) await model.caption(image, { maxTokens: 4 });
      return process.memoryUsage().rss;
    };
    const early = await run(300);
    const late = await run(1000);
    assert.ok(late - early < 40e6, `${((late - early) / 1e6).toFixed(1)} MB more`);
    model.dispose();
  });
});
