// What the model knows of language, by the engine as WebAssembly: node bench/language/run.mjs --data DIR [options]; see ../README.md.
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { BitMar } from 'bitmar';
import { floorsOf, mean, percent, table, withInterval } from './figures.mjs';
import { bigram, uniform } from './floors.mjs';
import { fileOf, foilsOf, normalised, validationPhotos } from './pictures.mjs';
import { pointsOf, TASKS } from './tasks.mjs';
import { wugs } from './wug.mjs';

const USAGE = `usage: node bench/language/run.mjs --data DIR [--photos DATA] [--read FILE...] [--text FILE...] [--tasks NAME,...] [--limit N] [--model DIR] [--out FILE]

  --data DIR     the benchmarks' JSONL files: ${Object.values(TASKS).map(({ file }) => file).join(', ')}
  --photos DATA  a folder of photos that bitmar.eval.as_png wrote: matching of captions, and questions
  --read FILE    documents, with blank lines between them: how likely they are; may be given several times
  --text FILE    lines that the bigram scorer counts; may be given several times
  --tasks NAMES  some of ${Object.keys(TASKS).join(', ')}, wug, matching, questions, reading (all; those without
                 their files are left out, and wug needs none)
  --limit N      the first N items of each
  --model DIR    another model than models/default
  --out FILE     results, an item a line (build/language.jsonl); what is there already is not computed again
`;

const OPTIONS = {
  data: { type: 'string' },
  photos: { type: 'string' },
  read: { type: 'string', multiple: true },
  text: { type: 'string', multiple: true },
  tasks: { type: 'string' },
  limit: { type: 'string' },
  model: { type: 'string' },
  out: { type: 'string' },
  help: { type: 'boolean' },
};

function argumentsOf() {
  try {
    const { values } = parseArgs({ options: OPTIONS });
    const limit = values.limit === undefined ? Infinity : Number(values.limit);
    if (!(limit >= 1)) throw new Error('--limit wants a number from 1 on');
    const known = [...Object.keys(TASKS), 'wug', 'matching', 'questions', 'reading'];
    const tasks = values.tasks?.split(',') ?? known;
    const unknown = tasks.find((name) => !known.includes(name));
    if (unknown !== undefined) throw new Error(`there is no task ${unknown}`);
    const needsNone = tasks.every((name) => name === 'wug');
    if (!values.help && !needsNone && !values.data && !values.photos && !values.read) throw new Error('missing --data, --photos or --read');
    return { ...values, limit, tasks };
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** Lines of a file that was written before, by task and id. Another model's are not gone on with. */
class Results {
  #file;
  #items = new Map();

  constructor(file, model) {
    this.#file = file;
    if (!existsSync(file)) writeFileSync(file, `${JSON.stringify({ model })}\n`);
    const [first, ...lines] = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    if (JSON.parse(first).model !== model) throw new Error(`${file} has results of another model; give another --out`);
    for (const line of lines) {
      try {
        const item = JSON.parse(line);
        this.#items.set(`${item.task} ${item.id}`, item);
      } catch {
        // the last line of a run that was ended: computed again
      }
    }
  }

  async of(task, id, compute) {
    const key = `${task} ${id}`;
    if (!this.#items.has(key)) {
      const item = { task, id, ...(await compute()) };
      appendFileSync(this.#file, `${JSON.stringify(item)}\n`);
      this.#items.set(key, item);
    }
    return this.#items.get(key);
  }
}

/** The scores of [prefix, continuation] pairs; continuations of one prefix at once. */
async function scoresOf(model, pairs, image) {
  const scores = [];
  for (const prefix of new Set(pairs.map(([prefix]) => prefix))) {
    const own = pairs.flatMap(([other], i) => (other === prefix ? [i] : []));
    const found = await model.score(prefix, own.map((i) => pairs[i][1]), { image });
    for (const [nth, i] of own.entries()) scores[i] = { logProbability: found[nth].logProbability, tokens: found[nth].tokens.length, bytes: Buffer.byteLength(pairs[i][1]) };
  }
  return scores;
}

function progress(name, done, all) {
  if (process.stderr.isTTY) process.stderr.write(`\r${name}: ${done} of ${all}\u001b[K${done === all ? '\n' : ''}`);
}

async function languageTasks(model, results, args, floors) {
  const rows = [['benchmark', 'items', 'chance', 'majority', ...floors.map(({ name }) => name), 'BitMar (95 %)', 'per token', 'per byte', 'sum', 'information', 'paper']];
  for (const [key, task] of Object.entries(TASKS)) {
    const file = `${args.data}/${task.file}`;
    if (!args.tasks.includes(key) || !existsSync(file)) continue;
    const items = readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)).slice(0, args.limit);
    const points = { sum: [], token: [], byte: [], ...(task.premise !== undefined && { information: [] }) };
    const floorPoints = floors.map(() => []);
    for (const [i, item] of items.entries()) {
      const pairs = task.options(item);
      let { scores } = await results.of(key, item.id, async () => ({ scores: await scoresOf(model, pairs) }));
      if (points.information) {
        const { alone } = await results.of(`${key} alone`, item.id, async () => ({ alone: await scoresOf(model, pairs.map(([, text]) => [task.premise, text])) }));
        scores = scores.map((score, nth) => ({ ...score, alone: alone[nth].logProbability }));
      }
      for (const by of Object.keys(points)) points[by].push(pointsOf(scores, item.answer, by));
      for (const [nth, { score }] of floors.entries()) floorPoints[nth].push(pointsOf(pairs.map(score), item.answer, task.by));
      progress(task.name, i + 1, items.length);
    }
    const { majority, chance } = floorsOf(items.map(({ answer, choices }) => ({ answer, choices: choices.length })));
    rows.push([
      task.name,
      items.length,
      percent(chance),
      key === 'blimp' ? '–' : percent(majority), // the right one comes first in its file
      ...floorPoints.map((each) => percent(mean(each))),
      `**${withInterval(mean(points[task.by]), items.length)}** by ${task.by}`,
      percent(mean(points.token)),
      percent(mean(points.byte)),
      percent(mean(points.sum)),
      points.information ? percent(mean(points.information)) : '–',
      task.paper?.toFixed(1) ?? '–',
    ]);
  }
  if (rows.length > 1) console.log(`${table(rows)}\n`);
}

async function inflection(model, results, args) {
  const byKind = new Map();
  const items = wugs().slice(0, args.limit);
  for (const [i, { id, kind, repeated, context, choices, answer }] of items.entries()) {
    const { scores } = await results.of('wug', id, async () => ({ scores: await scoresOf(model, choices.map((choice) => [context, choice])) }));
    const points = pointsOf(scores, answer, 'sum');
    for (const name of [kind, 'all']) byKind.set(name, [...(byKind.get(name) ?? []), { repeated, points }]);
    progress('wug', i + 1, items.length);
  }
  const rows = [['inflection of invented words', 'items', 'chance', 'right (95 %)', 'where the right form is new', 'where it was read before']];
  for (const [kind, all] of byKind) {
    const share = (wanted) => percent(mean(all.filter(({ repeated }) => repeated === wanted).map(({ points }) => points)));
    rows.push([kind, all.length, '50.0', `**${withInterval(mean(all.map(({ points }) => points)), all.length)}**`, share(false), share(true)]);
  }
  console.log(`${table(rows)}\n`);
}

async function matching(model, results, args) {
  const byKind = new Map();
  const photos = [];
  for await (const photo of validationPhotos(args.photos)) {
    const human = photo.captions.filter(([, kind]) => kind === 'human').map(([text]) => text);
    const foils = human.flatMap(foilsOf);
    if (foils.length > 0) photos.push({ photo, foils: [...new Map(foils.map((each) => [each.kind, each])).values()] });
    if (photos.length >= args.limit) break;
  }
  for (const [i, { photo, foils }] of photos.entries()) {
    const { found } = await results.of('matching', photo.id, async () => {
      const image = await fileOf(photo);
      const found = [];
      for (const { kind, caption, foil } of foils) {
        const pairs = [caption, foil].map((text) => ['', text]);
        found.push({ kind, seeing: await scoresOf(model, pairs, image), blind: await scoresOf(model, pairs) });
      }
      return { found };
    });
    for (const { kind, seeing, blind } of found) {
      const points = byKind.get(kind) ?? byKind.set(kind, { seeing: [], blind: [] }).get(kind);
      points.seeing.push(pointsOf(seeing, 0, 'sum'));
      points.blind.push(pointsOf(blind, 0, 'sum'));
    }
    progress('matching', i + 1, photos.length);
  }
  const rows = [['exchanged', 'captions', 'chance', 'without the picture', 'with the picture (95 %)']];
  const row = (name, { seeing, blind }) => rows.push([name, seeing.length, '50.0', percent(mean(blind)), `**${withInterval(mean(seeing), seeing.length)}**`]);
  for (const [kind, points] of [...byKind].sort()) row(kind, points);
  const all = [...byKind.values()];
  if (all.length > 0) row('all', { seeing: all.flatMap(({ seeing }) => seeing), blind: all.flatMap(({ blind }) => blind) });
  console.log(`${table(rows)}\n`);
}

async function questions(model, results, args) {
  const byType = new Map();
  let done = 0;
  for await (const photo of validationPhotos(args.photos)) {
    if (photo.questions.length === 0) continue;
    if (++done > args.limit) break;
    const { answers } = await results.of('questions', photo.id, async () => {
      const image = await fileOf(photo);
      const answers = [];
      for (const [question] of photo.questions) answers.push((await model.ask(image, question)).answer);
      return { answers };
    });
    for (const [i, [, wanted, type]] of photo.questions.entries()) {
      const family = type.split(':')[0];
      const own = byType.get(family) ?? byType.set(family, { right: [], wanted: new Map() }).get(family);
      own.right.push(Number(normalised(answers[i]) === normalised(wanted)));
      own.wanted.set(normalised(wanted), (own.wanted.get(normalised(wanted)) ?? 0) + 1);
    }
    if (process.stderr.isTTY) process.stderr.write(`\rquestions: ${done} photos`);
  }
  const rows = [['questions', 'number', 'majority answer', 'right (95 %)']];
  for (const [type, { right, wanted }] of [...byType].sort()) rows.push([type, right.length, percent(Math.max(...wanted.values()) / right.length), `**${withInterval(mean(right), right.length)}**`]);
  console.log(`${table(rows)}\n`);
}

/** How likely whole documents are, each from its beginning and without its end. Bits per byte can be compared between vocabularies of the same case. */
async function reading(model, results, args) {
  const rows = [['text', 'documents', 'tokens', 'perplexity per token', 'bits per byte']];
  for (const file of args.read) {
    const name = basename(file);
    const documents = readFileSync(file, 'utf8').split(/\n\s*\n/).map((each) => each.trim()).filter(Boolean).slice(0, args.limit);
    const sum = { nats: 0, tokens: 0, bytes: 0 };
    for (const [i, document] of documents.entries()) {
      const sha = createHash('sha256').update(document).digest('hex');
      const { nats, tokens, bytes } = await results.of('reading', sha, async () => {
        const [{ logProbability, tokens }] = await model.score('', [document]);
        return { nats: -logProbability, tokens: tokens.length, bytes: Buffer.byteLength(document) };
      });
      sum.nats += nats;
      sum.tokens += tokens;
      sum.bytes += bytes;
      progress(name, i + 1, documents.length);
    }
    rows.push([name, documents.length, sum.tokens, Math.exp(sum.nats / sum.tokens).toFixed(1), (sum.nats / Math.LN2 / sum.bytes).toFixed(3)]);
  }
  console.log(`${table(rows)}\n`);
}

const args = argumentsOf();
if (args.help) {
  process.stdout.write(USAGE);
} else {
  const folder = args.model ?? fileURLToPath(new URL('../../models/default', import.meta.url));
  const sum = createHash('sha256').update(readFileSync(`${folder}/model.safetensors`)).digest('hex');
  const results = new Results(args.out ?? fileURLToPath(new URL('../../build/language.jsonl', import.meta.url)), sum);
  const model = await BitMar.load(folder, { worker: false, memory: { persist: false } });
  const floors = [{ name: 'uniform', score: uniform() }];
  if (args.text) floors.push({ name: 'bigram', score: bigram(args.text.flatMap((file) => readFileSync(file, 'utf8').split('\n'))) });
  if (args.data) await languageTasks(model, results, args, floors);
  if (args.tasks.includes('wug')) await inflection(model, results, args);
  if (args.read && args.tasks.includes('reading')) await reading(model, results, args);
  if (args.photos && args.tasks.includes('matching')) await matching(model, results, args);
  if (args.photos && args.tasks.includes('questions') && model.info.canAsk) await questions(model, results, args);
  model.dispose();
}
