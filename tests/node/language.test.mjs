// bench/language: its arithmetic, and a run on a handful of items.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';

import { floorsOf, wilson } from '../../bench/language/figures.mjs';
import { bigram, uniform } from '../../bench/language/floors.mjs';
import { meansOf, offsetsOf, sampled } from '../../bench/language/long_text_figures.mjs';
import { foilsOf, normalised } from '../../bench/language/pictures.mjs';
import { pointsOf, TASKS } from '../../bench/language/tasks.mjs';
import { wugs } from '../../bench/language/wug.mjs';
import { path, picture, png, TINY } from './helpers.mjs';

const near = (a, b, tolerance = 1e-4) => assert.ok(Math.abs(a - b) <= tolerance, `${a}, not ${b}`);

describe('benchmarks of language', () => {
  test('intervals, chance and majority', () => {
    // Newcombe 1998, table I: 81 of 263, 0 of 20
    for (const [share, n, low, high] of [[81 / 263, 263, 0.2553, 0.3662], [0, 20, 0, 0.1611]]) {
      const [from, to] = wilson(share, n);
      near(from, low);
      near(to, high);
    }
    const { majority, chance } = floorsOf([0, 1, 1, 2].map((answer) => ({ answer, choices: 4 })));
    assert.deepEqual([majority, chance], [0.5, 0.25]);
  });

  test('the likeliest choice has the point; equal ones share it', () => {
    const scores = [{ logProbability: -6, tokens: 3, bytes: 12 }, { logProbability: -5, tokens: 1, bytes: 4 }, { logProbability: -5, tokens: 1, bytes: 4 }];
    assert.deepEqual([0, 1, 2].map((answer) => pointsOf(scores, answer, 'sum')), [0, 0.5, 0.5]);
    assert.deepEqual([0, 1, 2].map((answer) => pointsOf(scores, answer, 'token')), [1, 0, 0]);
    assert.equal(pointsOf(scores, 0, 'byte'), 1);
    // Its item makes the third one likelier, and the others less likely, than they are alone.
    const alone = [-5, -4, -6].map((value, i) => ({ ...scores[i], alone: value }));
    assert.deepEqual([0, 1, 2].map((answer) => pointsOf(alone, answer, 'information')), [0, 0, 1]);
  });

  test('a scorer without skill, and one that knows pairs of words', () => {
    const even = uniform(10);
    assert.equal(pointsOf([even(['', 'a dog']), even(['', 'a big dog'])], 0, 'sum'), 1);
    assert.equal(pointsOf([even(['', 'a dog']), even(['', 'a big dog'])], 0, 'token'), 0.5);
    const pairs = bigram(['the dog runs', 'the dog sits', 'a cat sleeps']);
    const likely = (prefix, text) => pairs([prefix, text]).logProbability;
    assert.ok(likely('the dog', ' runs') > likely('the cat', ' runs'));
    near(Math.exp(likely('the', ' dog')), 0.7 * 1 + (0.29 * 2) / 9 + 0.01 / 8);
    assert.ok(Number.isFinite(likely('', 'never seen')));
    assert.equal(pairs(['', 'dög']).bytes, 4);
  });

  test('every choice has its form', () => {
    const item = { context: 'C', question: 'q', choices: ['no', 'yes'], context_options: ['A so B', 'A so C'], continuation: 'won.' };
    assert.deepEqual(TASKS.boolq.options(item), [['C\nQuestion: q?\nAnswer:', ' no'], ['C\nQuestion: q?\nAnswer:', ' yes']]);
    assert.deepEqual(TASKS.winogrande.options(item), [['A so B', ' won.'], ['A so C', ' won.']]);
    assert.deepEqual(TASKS.blimp.options(item), [['', 'no'], ['', 'yes']]);
  });

  test('a foil is a caption with other words in it', () => {
    for (const caption of ['A black dog and a white cat sit on the grass.', 'two men on a red bus']) {
      const foils = foilsOf(caption);
      assert.ok(foils.length > 0);
      assert.deepEqual(foilsOf(caption), foils, 'the same every time');
      for (const { caption: kept, foil, kind } of foils) {
        assert.notEqual(foil, kept);
        const [before, after] = [kept, foil].map((text) => text.split(' '));
        assert.equal(before.length, after.length);
        assert.equal(before.filter((word, i) => word !== after[i]).length, kind === 'swap' ? 2 : 1);
        if (kind === 'swap') assert.deepEqual(before.toSorted(), after.toSorted());
      }
    }
    assert.ok(foilsOf('A black dog and a white cat').some(({ kind, foil }) => kind === 'swap' && foil === 'a white dog and a black cat'));
    assert.deepEqual(foilsOf('nothing to see'), []);
    assert.deepEqual(['The 2.', 'twenty-one', '21', 'a', 'an old Man'].map(normalised), ['two', 'twenty-one', 'twenty-one', 'a', 'old man']);
  });

  test('a run prints tables, keeps what it computed, and goes on with no other model', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bitmar-language-'));
    t.after(() => rm(folder, { recursive: true }));
    const lines = (rows) => rows.map((row) => JSON.stringify(row)).join('\n');
    await writeFile(join(folder, TASKS.boolq.file), lines([0, 1, 1].map((answer, i) => ({ id: `b${i}`, context: 'the dog runs', question: 'does it run', choices: ['no', 'yes'], answer }))));
    await writeFile(join(folder, TASKS.blimp.file), lines([{ id: 'p', choices: ['the dog runs', 'the dog run'], answer: 0 }]));
    const file = join(folder, 'photo.png');
    const bytes = png(picture(20, 20));
    await writeFile(file, bytes);
    const captions = [['a black dog and a white cat on the grass', 'human']];
    await writeFile(join(folder, 'photos.jsonl'), lines([{ id: 'x', split: 'val', captions, questions: [['what is it?', 'a dog', 'vqa:other']], file, offset: 0, bytes: bytes.length }]));
    await writeFile(join(folder, 'text'), 'the dog runs\n');
    const out = join(folder, 'results.jsonl');
    const run = (model, ...args) => promisify(execFile)(process.execPath, [path('bench/language/run.mjs'), '--data', folder, '--photos', folder, '--text', join(folder, 'text'), '--out', out, '--model', model, ...args]);
    const { stdout } = await run(TINY);
    assert.match(stdout, /^\| BoolQ \| 3 \| 50\.0 \| 66\.7 \| 50\.0 \|/m);
    assert.match(stdout, /^\| BoolQ .* \| (33\.3|66\.7) \| 42\.8 \|$/m, 'by information: the choice of one answer for all three items that are alike');
    assert.match(stdout, /^\| BLiMP \| 1 \|.* \| – \| – \|$/m);
    assert.match(stdout, /^\| swap \| 1 \|/m);
    assert.match(stdout, /^\| vqa \| 1 \| 100\.0 \|/m);
    assert.match(stdout, /^\| progressive \| 64 \| 50\.0 \|/m);
    const kept = await readFile(out, 'utf8');
    // As if it had been ended in the middle of a line: that one is computed again, and the others are believed.
    const changed = async (value) => {
      await writeFile(out, kept.replace(/"id":"b0","scores":\[\{"logProbability":[^,]+/, `"id":"b0","scores":[{"logProbability":${value}`).slice(0, -20));
      return run(TINY);
    };
    const again = await changed(0);
    assert.notEqual(again.stdout, (await changed(-999)).stdout);
    assert.match(again.stdout, /^\| BoolQ \| 3 \| 50\.0 \| 66\.7 \| 50\.0 \|/m);
    await writeFile(join(folder, 'stories.txt'), 'The dog runs.\nIt runs.\n\n\na cat sits\n');
    const read = (...args) => run(TINY, '--tasks', 'reading', '--read', join(folder, 'stories.txt'), ...args);
    const [, documents, tokens, perplexity, bits] = (await read()).stdout.match(/^\| stories\.txt \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|/m);
    assert.equal(documents, '2');
    near(bits / (Math.log2(perplexity) * (tokens / 32)), 1, 0.01); // 22 bytes and 10
    assert.match((await read('--limit', '1')).stdout, /^\| stories\.txt \| 1 \|/m);
    await assert.rejects(run(path('models/default')), /results of another model/);
    await assert.rejects(run(TINY, '--tasks', 'sums'), /there is no task sums/);
  });

  test('invented words: both forms are asked for, and each item differs in one', () => {
    const items = wugs();
    assert.equal(new Set(items.map(({ id }) => id)).size, items.length);
    // No habit but grammar helps: to repeat what was read or not, to take the longer word or the shorter.
    for (const habit of [({ repeated }) => repeated, ({ choices: [right, wrong] }) => right.length > wrong.length]) {
      assert.equal(items.filter(habit).length, items.length / 2);
    }
    for (const { context, choices, repeated } of items) {
      const read = choices.map((text) => context.split(/[ .,]+/).includes(text.split(/[ .,]+/)[1]));
      assert.deepEqual(read, [repeated, !repeated], context);
    }
    for (const { kind, context, choices: [right, wrong] } of items) {
      const [a, b] = [right, wrong].map((text) => text.split(/[ ,]+/));
      assert.equal(a.length, b.length);
      assert.equal(a.filter((word, i) => word !== b[i]).length, 1, `${context}${right}`);
      assert.ok(items.some((other) => other.kind === kind && other.choices.every((text, i) => text.split(/[ ,]+/)[1] === [b[1], a[1]][i])), `${kind}: ${a[1]}`);
    }
    const text = JSON.stringify(items);
    for (const form of [' wugs of', ' gutches of', ' nizes of', ' ricked all', ' motted all', ' loodged all', ' glinging too', ' loodging too', ' mots every', ' quirker than']) assert.ok(text.includes(form), form);
  });

  test('where the tokens of a long text are, and which are looked at', () => {
    assert.deepEqual(meansOf([1, 3, 5, 7, 9], 2), [2, 6]);
    const vocabulary = { a: 0, 'Ġdog': 1, 'Ã¤': 2, 'Ġ"': 3, s: 4 };
    assert.deepEqual(offsetsOf([0, 1, 4, 3, 2, 1], vocabulary), { begins: [1, 5], offsets: [0, 1, 5, 6, 8, 10, 14] });
    assert.deepEqual(sampled([1, 5, 9, 12, 20, 30], 5, 2), [9, 20]);
    assert.deepEqual(sampled([1, 5, 9], 5, 8), [9]);
  });

  test('a long text: with sinks, without, and with the window computed afresh', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bitmar-long-'));
    t.after(() => rm(folder, { recursive: true }));
    const text = join(folder, 'text');
    const out = join(folder, 'out.json');
    await writeFile(text, 'a dog runs on the grass and a boy in a red shirt is on the beach with two Men, '.repeat(60));
    const run = (...args) => promisify(execFile)(process.execPath, [path('bench/language/long_text.mjs'), '--text', text, '--model', TINY, '--out', out, ...args]);
    const { stdout } = await run('--tokens', '2000', '--samples', '7');
    assert.match(stdout, /^2000 tokens with 2 sinks: /m);
    assert.match(stdout, /^at 7 places: /m);
    const { rows, sinks, without, afresh } = JSON.parse(await readFile(out, 'utf8'));
    assert.deepEqual([sinks.length, without.length, afresh.length], [2, 2, 7]);
    assert.notEqual(sinks[1], without[1]);
    // Of the same tokens: a window that was kept knows a little more than one that begins there.
    for (const { at, afresh: begun, kept } of afresh) assert.ok(at > rows && Math.abs(begun - kept) < 2, `${at}: ${begun}, ${kept}`);
    assert.ok(afresh.some(({ afresh: begun, kept, without: none }) => begun !== kept && kept !== none));
    await assert.rejects(run('--tokens', '90000'), /has \d+ tokens/);
    await assert.rejects(run('--tokens', '0'), /--tokens wants a number/);
  });
});
