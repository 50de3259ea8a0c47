#!/usr/bin/env node
// The command line under node: options and output are those of the native one.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { messageOf } from './api/errors.js';
import { type Asked, type Output, parse, USAGE, UsageError, wantsJson } from './cli/arguments.js';
import { readPhoto, withoutFolders } from './cli/photos.js';
import { ProgressBar } from './cli/progress.js';
import { serve } from './cli/serve.js';
import { type Answer, BitMar, BitMarError, type Caption, type ErrorCode } from './index-node.js';

type Arguments = ReturnType<typeof parse>;

/** What is wrong with one photo, and not with all; of questions and texts also what is wrong with one of these. */
const OF_ONE_PHOTO: readonly ErrorCode[] = ['missing_file', 'invalid_image', 'image_too_large', 'unsupported_image'];
const OF_ONE_TEXT: readonly ErrorCode[] = ['invalid_argument', 'invalid_text', 'text_too_long'];

const bar = new ProgressBar();

function ownVersion(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}

/** Undefined: the package's default. */
function findModel(): string | undefined {
  for (const start of [process.cwd(), dirname(fileURLToPath(import.meta.url))]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const candidate = join(folder, 'models', 'default');
      if (existsSync(join(candidate, 'config.json'))) return candidate;
      if (folder === dirname(folder)) break;
    }
  }
  return undefined;
}

function load({ model, load }: Arguments): Promise<BitMar> {
  const onProgress = ({ loaded, total }: { loaded: number; total: number | undefined }) => bar.show(loaded, total ?? 0, ' bytes of the model');
  return BitMar.load(model ?? findModel(), { worker: false, kvCache: load.kvCache, threads: load.threads, onProgress });
}

function print(line: string): void {
  bar.clear();
  process.stdout.write(`${line}\n`);
}

/** As JSON among the results, where these are JSON. */
function complain(error: unknown, json: boolean, about: object = {}): void {
  const code = error instanceof BitMarError ? error.code : 'error';
  if (json) return print(JSON.stringify({ error: { code, message: messageOf(error) }, ...about }));
  bar.clear();
  process.stderr.write(`bitmar: ${code}: ${messageOf(error)}\n`);
}

function captionLine({ text, tokens, logProbability, confidence, timings }: Caption, asked: Asked, output: Output): string {
  if (output === 'text') return text;
  return lineOf({ text, tokens, log_probability: logProbability, confidence }, timings, asked, output);
}

function answerLine({ answer, declined, tokens, logProbability, confidence, timings }: Answer, asked: Asked, output: Output): string {
  if (output === 'text') return declined ? '(no answer)' : answer;
  return lineOf({ answer, declined, tokens, log_probability: logProbability, confidence }, timings, asked, output);
}

function lineOf(result: object, { visionMs, textMs }: Caption['timings'], asked: Asked, output: Output): string {
  return JSON.stringify({ ...result, vision_ms: visionMs, text_ms: textMs, ...(output === 'jsonl' ? asked : {}) });
}

/** The lines of everything that was asked for, one after the other; 1 where one of them is an error. */
async function printAll(model: BitMar, { command, asked, texts, output, options }: Arguments): Promise<number> {
  const ofOne = command === 'caption' ? OF_ONE_PHOTO : [...OF_ONE_PHOTO, ...OF_ONE_TEXT];
  const embedding = async (name: 'photo' | 'text', of: string, what: Parameters<BitMar['embed']>[0]) =>
    JSON.stringify({ [name]: of, embedding: [...(await model.embed(what))] });
  async function photoLine(each: Asked): Promise<string> {
    const file = await readPhoto(each.photo);
    if (command === 'embed') return embedding('photo', each.photo, { image: file, text: options.prompt });
    if (each.question === undefined) return captionLine(await model.caption(file, options), each, output);
    return answerLine(await model.ask(file, each.question, options), each, output);
  }
  const photos = withoutFolders(asked);
  const work = [
    ...photos.map((each) => ({ about: each, name: each.photo, line: () => photoLine(each) })),
    ...texts.map((text) => ({ about: { text }, name: JSON.stringify(text), line: () => embedding('text', text, { text }) })),
  ];
  let status = 0;
  for (const [i, { about, name, line }] of work.entries()) {
    bar.show(i, work.length);
    try {
      print(await line());
    } catch (error) {
      if (!(error instanceof BitMarError)) throw error;
      const named = work.length === 1 ? error : new BitMarError(error.code, `${name}: ${error.message}`, { cause: error });
      if (!ofOne.includes(error.code)) throw named;
      complain(output === 'text' ? named : error, output !== 'text', about);
      status = 1;
    }
  }
  bar.clear();
  return status;
}

/** A line a text. */
async function printScores(model: BitMar, { asked, texts, prefix = '' }: Arguments): Promise<void> {
  const [photo, ...more] = withoutFolders(asked);
  if (more.length > 0) throw new UsageError('score takes one photo');
  const scores = await model.score(prefix, texts, { image: photo && (await readPhoto(photo.photo)) });
  for (const [i, { logProbability, perToken, perByte, tokens, logProbabilities }] of scores.entries()) {
    print(JSON.stringify({ text: texts[i], log_probability: logProbability, per_token: perToken, per_byte: perByte, tokens, log_probabilities: logProbabilities }));
  }
}

/** Pieces as they come, where a person reads them. */
async function printCompletion(model: BitMar, { asked, prefix = '', options, output }: Arguments): Promise<void> {
  const [photo, ...more] = withoutFolders(asked);
  if (more.length > 0) throw new UsageError('complete takes one photo');
  const onToken = output === 'text' ? (piece: string) => void process.stdout.write(piece) : undefined;
  const { text, tokens, logProbability } = await model.complete(prefix, { ...options, image: photo && (await readPhoto(photo.photo)), onToken });
  print(output === 'text' ? '' : JSON.stringify({ text, tokens, log_probability: logProbability }));
}

/** The same rows as natively, less the number of parameters. */
function infoText({ info }: BitMar, json: boolean): string {
  const { weights = 0, activations = 0, kvCache = 0, memorySlots = 0, scratch = 0 } = info.bytes;
  const bytes = { weights, activations, kv_cache: kvCache, memory_slots: memorySlots, scratch, total: weights + activations + kvCache + memorySlots + scratch };
  const { kernels, threads, parameters } = info;
  if (json) return JSON.stringify({ kernels, threads, parameters, bytes });
  const row = (name: string, value: unknown) => `${name.replace('_', ' ').padEnd(14)} ${value}`;
  return [row('kernels', kernels), row('threads', threads), row('parameters', parameters), ...Object.entries(bytes).map(([name, count]) => row(name, `${count} bytes`))].join('\n');
}

async function run(parsed: Arguments): Promise<number> {
  switch (parsed.command) {
    case 'help':
      process.stdout.write(USAGE);
      return 0;
    case 'version':
      print(ownVersion());
      return 0;
    case 'serve':
      await serve(parsed.serve);
      return 0;
  }
  const model = await load(parsed);
  bar.clear();
  try {
    if (parsed.command === 'score') await printScores(model, parsed);
    else if (parsed.command === 'complete') await printCompletion(model, parsed);
    else if (parsed.command === 'info') print(infoText(model, parsed.output !== 'text'));
    else return await printAll(model, parsed);
    return 0;
  } finally {
    model.dispose();
  }
}

async function main(args: string[]): Promise<number> {
  try {
    return await run(parse(args));
  } catch (error) {
    bar.clear();
    if (error instanceof UsageError) {
      process.stderr.write(`bitmar: ${error.message}\n\n${USAGE}`);
      return 2;
    }
    complain(error, wantsJson(args));
    return 1;
  }
}

// A full disk, or whoever reads it has gone and needs no word of it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.stderr.write(`bitmar: the output cannot be written: ${messageOf(error)}\n`);
  process.exit(1);
});

process.exitCode = await main(process.argv.slice(2));
