// Whether a text may go on for ever: what each token of a long one is worth, by the engine as WebAssembly. node bench/language/long_text.mjs --text FILE [options]; see ../README.md.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { BitMar } from 'bitmar';
import { mean } from './figures.mjs';
import { meansOf, offsetsOf, sampled } from './long_text_figures.mjs';

const USAGE = `usage: node bench/language/long_text.mjs --text FILE [--model DIR] [--tokens N] [--samples N] [--out FILE]

  --text FILE    a text of at least --tokens tokens and at most a megabyte that the model did not learn from
  --model DIR    models/text
  --tokens N     how far to read (100000)
  --samples N    positions at which the window is recomputed from scratch (1000)
  --out FILE     what was measured, as JSON (build/long-text.json); python -m bitmar.eval.plot draws it
`;
const EACH = 1000; // tokens of a mean

function argumentsOf() {
  const options = Object.fromEntries(['text', 'model', 'tokens', 'samples', 'out'].map((name) => [name, { type: 'string' }]));
  try {
    const { values } = parseArgs({ options: { ...options, help: { type: 'boolean' } } });
    const args = {
      model: fileURLToPath(new URL('../../models/text', import.meta.url)),
      out: fileURLToPath(new URL('../../build/long-text.json', import.meta.url)),
      ...values,
      tokens: Number(values.tokens ?? 100_000),
      samples: Number(values.samples ?? 1000),
    };
    for (const name of ['tokens', 'samples']) if (!(Number.isInteger(args[name]) && args[name] > 0)) throw new Error(`--${name} wants a number from 1 on`);
    if (!args.text && !args.help) throw new Error('missing --text FILE');
    return args;
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

const load = (folder) => BitMar.load(folder, { worker: false, memory: { persist: false } });

/** The model without sinks; the window takes their place, so that both remember equally much. */
async function withoutSinks(folder) {
  const own = mkdtempSync(join(tmpdir(), 'bitmar-'));
  try {
    for (const name of ['model.safetensors', 'tokenizer.json', 'preprocessor_config.json']) copyFileSync(join(folder, name), join(own, name));
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    const { num_sinks, window_size } = config.decoder;
    Object.assign(config.decoder, { num_sinks: 0, window_size: num_sinks + window_size });
    writeFileSync(join(own, 'config.json'), JSON.stringify(config));
    return await load(own);
  } finally {
    rmSync(own, { recursive: true });
  }
}

async function losses(model, text) {
  const began = performance.now();
  const [{ tokens, logProbabilities }] = await model.score('', [text]);
  return { tokens, losses: logProbabilities.map((value) => -value), seconds: (performance.now() - began) / 1000 };
}

const args = argumentsOf();
if (args.help) {
  process.stdout.write(USAGE);
} else {
  const vocabulary = JSON.parse(readFileSync(join(args.model, 'tokenizer.json'), 'utf8')).model.vocab;
  const written = readFileSync(args.text, 'utf8').toLowerCase(); // as the tokenizer reads it
  const { decoder } = JSON.parse(readFileSync(join(args.model, 'config.json'), 'utf8'));
  const rows = decoder.num_sinks + decoder.window_size;
  const sinking = await load(args.model);
  // So much of the text as has --tokens tokens: a share of it that is more than enough, then cut.
  const bytes = Buffer.from(written);
  const guess = await losses(sinking, written.slice(0, 20_000));
  const text = written.slice(0, Math.ceil((20_000 / guess.tokens.length) * args.tokens * 1.1));
  const all = await losses(sinking, text);
  if (all.tokens.length < args.tokens) throw new Error(`${args.text} has ${all.tokens.length} tokens; --tokens ${args.tokens}?`);
  const { begins, offsets } = offsetsOf(all.tokens.slice(0, args.tokens), vocabulary);
  console.log(`${args.tokens} tokens with ${decoder.num_sinks} sinks: ${mean(all.losses.slice(0, args.tokens)).toFixed(3)} nats per token, ${Math.round(all.tokens.length / all.seconds)} tokens/s`);

  const none = await withoutSinks(args.model);
  const without = await losses(none, text);
  none.dispose();
  console.log(`without sinks: ${mean(without.losses.slice(0, args.tokens)).toFixed(3)}`);

  // The window computed afresh, as if the text began with it: what keeping it costs.
  const afresh = [];
  for (const at of sampled(begins.slice(0, -1), rows, args.samples)) {
    const from = begins.find((begin) => begin > at - rows); // BOS has a row too
    const end = begins.find((begin) => begin > at);
    const [found] = await sinking.score(bytes.subarray(offsets[from], offsets[at]).toString(), [bytes.subarray(offsets[at], offsets[end]).toString()]);
    if (found.tokens[0] !== all.tokens[at]) throw new Error(`token ${at}: its text alone has another first token`);
    afresh.push({ at, afresh: -found.logProbabilities[0], kept: all.losses[at], without: without.losses[at] });
    if (process.stderr.isTTY) process.stderr.write(`\r${afresh.length} of ${args.samples} places`);
  }
  sinking.dispose();
  const by = (name) => mean(afresh.map((each) => each[name]));
  console.log(`at ${afresh.length} places: computed afresh ${by('afresh').toFixed(3)}, kept with sinks ${by('kept').toFixed(3)}, without ${by('without').toFixed(3)}`);
  const result = { tokens: args.tokens, each: EACH, rows, sinks: meansOf(all.losses.slice(0, args.tokens), EACH), without: meansOf(without.losses.slice(0, args.tokens), EACH), afresh };
  writeFileSync(args.out, `${JSON.stringify(result)}\n`);
}
