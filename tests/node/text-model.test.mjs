// The model of language in models/text: that the engine runs what was trained.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { code, path, sample } from './helpers.mjs';

// Not from BLiMP. The second of each is wrong in one word.
const PAIRS = [
  ['the dogs are asleep.', 'the dogs is asleep.'],
  ['the dog is asleep.', 'the dog are asleep.'],
  ['she was very tired.', 'she were very tired.'],
  ['they were very tired.', 'they was very tired.'],
  ['he has seen it.', 'he has saw it.'],
  ['we have eaten the bread.', 'we have ate the bread.'],
  ['those men came back.', 'those man came back.'],
  ['this man came back.', 'this men came back.'],
  ['the girl hurt herself.', 'the girl hurt himself.'],
  ['the king hurt himself.', 'the king hurt herself.'],
  ['i did not see anybody.', 'i did not saw anybody.'],
  ['she wants to go home.', 'she want to go home.'],
  ['they want to go home.', 'they wants to go home.'],
  ['two cats sat on the wall.', 'two cat sat on the wall.'],
  ['who did you see?', 'who did you saw?'],
  ['there was a man at the door.', 'there were a man at the door.'],
];

describe('the model of language', () => {
  let model;
  before(async () => {
    model = await BitMar.load(path('models/text'), { memory: { persist: false } });
  });
  after(() => model.dispose());

  test('tells sentences from what is none', async () => {
    let right = 0;
    for (const pair of PAIRS) {
      const [good, bad] = await model.score('', pair);
      right += good.logProbability > bad.logProbability;
    }
    assert.ok(right >= 0.8 * PAIRS.length, `${right} of ${PAIRS.length}`);
  });

  test('finds English likelier than the same words in another order', async () => {
    const text = 'the old woman gave the boy a loaf of bread, and he thanked her and went on his way.';
    const [plain, mixed] = await model.score('', [text, 'bread, woman of old and way the boy he gave on his a the and thanked her went loaf.']);
    assert.ok(plain.perByte > mixed.perByte + 0.5, `${plain.perByte}, ${mixed.perByte}`);
  });

  test('writes on past its window, piece by piece', async () => {
    const pieces = [];
    const { text, tokens } = await model.complete('once upon a time there was a king who had three sons.', { maxTokens: 1100, temperature: 0.8, seed: 3, onToken: (piece) => pieces.push(piece) });
    assert.equal(pieces.join(''), text);
    assert.ok(tokens.length > 5);
    const words = text.match(/[a-z']+/g);
    const known = new Set(JSON.stringify(Object.keys(JSON.parse(await readFile(path('models/text/tokenizer.json'), 'utf8')).model.vocab)).match(/[a-z']+/g));
    assert.ok(words.filter((word) => known.has(word)).length > 0.8 * words.length, 'words of the vocabulary');
  });

  test('sees no pictures, and says so', async () => {
    const photo = await sample('cat');
    await assert.rejects(model.caption(photo), code('invalid_argument'));
    await assert.rejects(model.score('a', [' cat'], { image: photo }), code('invalid_argument'));
    await assert.rejects(model.complete('a', { image: photo }), code('invalid_argument'));
    await assert.rejects(model.ask(photo, 'what is it?'), code('unsupported'));
    assert.ok((await model.complete('a')).text);
  });
});
