// Numbers are checked and not cast, texts are checked before they become UTF-8, and files before they are read.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile, copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, engineModule, engineOf, picture, TINY, tinyFiles } from './helpers.mjs';

describe('limits', () => {
  let model;
  before(async () => (model = await BitMar.load(TINY)));
  after(() => model.dispose());
  const image = picture(20, 20);

  const NONE = [NaN, Infinity, -Infinity, '3', null, {}, 3n];

  test('options of a caption', async () => {
    const bad = {
      maxTokens: [0, -1, 1.5, 2 ** 32 + 2, 2 ** 20 + 1, ...NONE],
      numBeams: [0, 9, 1.5, 2 ** 32 + 1, ...NONE],
      seed: [-1, 0.5, 2 ** 53, ...NONE],
      temperature: [-0.1, 1000.1, 1e300, ...NONE],
      topP: [-0.1, 0, 1.1, ...NONE],
      lengthPenalty: [10.1, -10.1, ...NONE],
      now: NONE,
    };
    for (const [name, values] of Object.entries(bad)) {
      for (const value of values) {
        await assert.rejects(model.caption(image, { [name]: value }), code('invalid_argument'), `${name}: ${String(value)}`);
      }
    }
    for (const name of ['maxTokens', 'numBeams']) {
      for (const value of bad[name]) {
        await assert.rejects(model.ask(image, 'what?', { [name]: value }), code('invalid_argument'), `ask, ${name}: ${String(value)}`);
      }
    }
    const { tokens } = await model.caption(image, { maxTokens: 3, seed: Number.MAX_SAFE_INTEGER, temperature: 1000 });
    assert.ok(tokens.length <= 3);
  });

  test('widths and heights', async () => {
    const data = new Uint8Array(4 * 2 * 2);
    for (const side of [2 ** 32 + 2, 2.5, -2, NaN, Infinity, '2', 0]) {
      await assert.rejects(model.caption({ data, width: side, height: 2 }), code('invalid_image'), String(side));
      await assert.rejects(model.memory.recall({ image: { data, width: 2, height: side } }), code('invalid_image'), String(side));
    }
    await model.caption({ data, width: 2, height: 2 }, { maxTokens: 1 });
  });

  test('slots, and other options of the memory', async () => {
    for (const slots of [1.5, 2 ** 32 + 64, 0, -1, 65537, ...NONE]) {
      await assert.rejects(BitMar.load(TINY, { memory: { slots } }), code('invalid_argument'), String(slots));
    }
    for (const memory of [{ autosaveMs: NaN }, { autosaveMs: -1 }, { autosaveMs: 2 ** 40 }, { thumbnailBytes: NaN }, { thumbnailBytes: -1 }]) {
      await assert.rejects(BitMar.load(TINY, { memory }), code('invalid_argument'));
    }
    const few = await BitMar.load(TINY, { memory: { slots: 3 } });
    assert.equal((await few.memory.stats()).slots, 3);
    few.dispose();
    for (const threads of [0, 1.5, 65, 2 ** 32 + 1, ...NONE]) await assert.rejects(BitMar.load(TINY, { threads }), code('invalid_argument'));
  });

  test('messages quote no more of a name or file than one can read', async () => {
    const short = ({ message, code: found }) => typeof found === 'string' && message.length <= 1010;
    await assert.rejects(BitMar.load('no-such-folder'.repeat(1e5)), short);
    await assert.rejects(BitMar.load({ ...(await tinyFiles()), config: `{"a": "${'x'.repeat(900_000)}` }), short);
    await assert.rejects(BitMar.load({ ...(await tinyFiles()), config: `{"model_type": "${'😀'.repeat(100_000)}"}` }), short);
  });

  test('the engine checks what the package would let through', async () => {
    const module = await engineModule();
    const refusal = ({ code: found }) => found === 'invalid_argument' || found === 'invalid_image';
    const refused = (call) => assert.throws(call, refusal);
    for (const threads of [1.5, 2 ** 32 + 1]) await assert.rejects(engineOf(module, TINY, { threads }), refusal);
    const engine = await engineOf(module);
    const options = { prompt: '', maxTokens: 2, numBeams: 1, temperature: 0, topP: 1, seed: 0, readMemory: false, prefix: '' };
    const data = new Uint8Array(3 * 2 * 2);
    for (const wrong of [{ seed: -1 }, { seed: 0.5 }, { seed: 2 ** 53 }, { seed: NaN }, { maxTokens: 2.5 }, { maxTokens: 2 ** 32 + 2 }, { numBeams: 2 ** 32 + 1 }, { numBeams: NaN }]) {
      refused(() => engine.beginPixels(data, 2, 2, { ...options, ...wrong }));
    }
    for (const side of [2 ** 32 + 2, 2.5, NaN, -2]) {
      refused(() => engine.beginPixels(data, side, 2, options));
      refused(() => engine.embedPixels(data, 2, side, null));
      refused(() => engine.memoryTeachPixels(data, side, 2, 'mug', 0));
      refused(() => engine.memoryConfigure(side));
    }
    engine.beginPixels(data, 2, 2, options);
    engine.delete();
  });

  test('half a surrogate pair is refused, wherever a text goes', async () => {
    for (const half of ['\ud83d', 'a \udc69', '\udc69\ud83d', '\ud83da dog', 'x\ud83d']) {
      await assert.rejects(model.caption(image, { prompt: half }), code('invalid_text'), JSON.stringify(half));
      await assert.rejects(model.memory.recall({ text: half }), code('invalid_text'));
      await assert.rejects(model.ask(image, half), code('invalid_text'));
      await assert.rejects(model.memory.teach(image, half), code('invalid_text'));
      await assert.rejects(model.memory.write(image, { label: half, maxTokens: 1 }), code('invalid_text'));
      await assert.rejects(model.memory.label(1, half), code('invalid_text'));
    }
    const { id } = await model.memory.teach(image, '👩‍👧');
    assert.equal((await model.memory.list()).episodes.find((episode) => episode.id === id).label, '👩‍👧');
    await model.memory.clear();
  });

  test('labels of at most 63 bytes, texts of at most 65,536', async () => {
    const before = await model.memory.stats();
    for (const label of ['a'.repeat(64), '漢'.repeat(22), 'a'.repeat(20 << 20)]) {
      await assert.rejects(model.memory.teach(image, label), code('text_too_long'));
      await assert.rejects(model.memory.write(image, { label, maxTokens: 1 }), code('text_too_long'));
      await assert.rejects(model.memory.label(1, label), code('text_too_long'));
    }
    assert.deepEqual(await model.memory.stats(), before);
    for (const label of ['a'.repeat(63), '漢'.repeat(21)]) await model.memory.teach(image, label);
    await model.memory.clear();
    for (const text of ['a'.repeat(65537), '漢'.repeat(21846), 'a dog '.repeat(3 << 20)]) {
      await assert.rejects(model.caption(image, { prompt: text }), code('text_too_long'));
      await assert.rejects(model.memory.recall({ text }), code('text_too_long'));
      await assert.rejects(model.ask(image, text), code('text_too_long'));
    }
  });

  test('files of a model by their sizes', async () => {
    const text = (file) => readFile(join(TINY, file), 'utf8');
    const files = {
      config: await text('config.json'),
      tokenizer: await text('tokenizer.json'),
      preprocessor: await text('preprocessor_config.json'),
      weights: await readFile(join(TINY, 'model.safetensors')),
    };
    const spaces = ' '.repeat(1 << 20);
    await assert.rejects(BitMar.load({ ...files, config: files.config + spaces }), code('invalid_config'));
    await assert.rejects(BitMar.load({ ...files, preprocessor: files.preprocessor + spaces }), code('invalid_config'));
    await assert.rejects(BitMar.load({ ...files, tokenizer: files.tokenizer + spaces.repeat(8) }), code('invalid_model'));
    await assert.rejects(BitMar.load({ ...files, config: files.config.replace('bitmar', 'bit\ud800mar') }), code('invalid_config'));
    await assert.rejects(BitMar.load({ ...files, config: 7 }), code('invalid_argument'));
    (await BitMar.load({ ...files, config: files.config + ' '.repeat(1000) })).dispose();
    const folder = await mkdtemp(join(tmpdir(), 'bitmar-limits-'));
    for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) await copyFile(join(TINY, file), join(folder, file));
    await writeFile(join(folder, 'preprocessor_config.json'), files.preprocessor + spaces);
    await assert.rejects(BitMar.load(folder), code('invalid_config'));
    await rm(folder, { recursive: true });
  });
});
