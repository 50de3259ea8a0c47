#!/usr/bin/env node
// bitmar caption PHOTO..., bitmar ask PHOTO QUESTION: the command line under node. Options and output are those of the native one.

import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { messageOf } from './errors.js';
import { type Answer, BitMar, BitMarError, type Caption } from './index-node.js';

const USAGE = `usage: bitmar caption PHOTO... [options]
       bitmar ask PHOTO QUESTION [options]
       bitmar --version

  --model DIR        the model's directory (otherwise models/default, near here or near the program, or the package bitmar-model)
  --prompt TEXT      what the caption should be about
  --json             one JSON object a photo instead of the caption or answer
  --jsonl            the same, one a line, each with its photo's path
  --list FILE        more photos, one path a line; of ask: a photo, a tab and a question a line
  --max-tokens N     at most this many tokens (24; of answers the model's own)
  --beams N          beam search (1: greedy), with --length-penalty P (more: longer captions)
  --int8-kv          keep the decoder's keys and values as int8: less memory, a little less exact
  --temperature T    sample instead, with --top-p P (1) and --seed N (0)
`;

class UsageError extends Error {}

function parse(args: string[]) {
  let parsed;
  try {
    parsed = parseArgs({
      args: args.map((arg, i) => (/^-\d/.test(arg) && args[i - 1]?.startsWith('--') ? ` ${arg}` : arg)), // a negative number is a value
      allowPositionals: true,
      options: {
        model: { type: 'string' },
        prompt: { type: 'string' },
        json: { type: 'boolean' },
        jsonl: { type: 'boolean' },
        list: { type: 'string' },
        'max-tokens': { type: 'string' },
        beams: { type: 'string' },
        'length-penalty': { type: 'string' },
        'int8-kv': { type: 'boolean' },
        temperature: { type: 'string' },
        'top-p': { type: 'string' },
        seed: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
  const { values, positionals } = parsed;
  const [command, ...words] = positionals;
  if (values.help || command === 'help') return USAGE;
  if (values.version || command === 'version') return `${ownVersion()}\n`;
  if (command === undefined) throw new UsageError('what shall be done?');
  if (command !== 'caption' && command !== 'ask') throw new UsageError(`there is no command "${command}"`);
  const lines = values.list === undefined ? [] : linesOf(values.list);
  return {
    // Photos without a question are captioned.
    photos: command === 'ask' ? questionsOf(words, lines) : photosOf([...lines, ...words]),
    output: values.jsonl ? 'jsonl' : values.json ? 'json' : 'text',
    model: values.model,
    kvCache: values['int8-kv'] ? 'int8' : 'float32',
    options: {
      prompt: values.prompt,
      maxTokens: number('--max-tokens', values['max-tokens'], /^-?\d+$/),
      numBeams: number('--beams', values.beams, /^-?\d+$/),
      lengthPenalty: number('--length-penalty', values['length-penalty']),
      temperature: number('--temperature', values.temperature),
      topP: number('--top-p', values['top-p']),
      seed: number('--seed', values.seed, /^\d+$/),
    },
  } as const;
}

interface Photo {
  photo: string;
  question?: string;
}

function linesOf(list: string): string[] {
  try {
    return readFileSync(list, 'utf8').split(/\r?\n/).filter(Boolean);
  } catch (error) {
    throw new BitMarError('missing_file', `${list} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function photosOf(photos: string[]): Photo[] {
  if (photos.length === 0) throw new UsageError('which photo?');
  return photos.map((photo) => ({ photo }));
}

function questionsOf(words: string[], lines: string[]): Photo[] {
  const asked = lines.map((line) => {
    const tab = line.indexOf('\t');
    if (tab < 0) throw new UsageError(`a line of the list has no tab: "${line}"`);
    return { photo: line.slice(0, tab), question: line.slice(tab + 1) };
  });
  const [photo, question, ...more] = words;
  if (photo !== undefined && (question === undefined || more.length > 0)) throw new UsageError('ask takes a photo and a question');
  if (photo !== undefined && question !== undefined) asked.push({ photo, question });
  if (asked.length === 0) throw new UsageError('which photo, and what about it?');
  return asked;
}

function number(option: string, text: string | undefined, form = /^-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i): number | undefined {
  if (text === undefined) return undefined;
  if (!form.test(text.trim())) throw new UsageError(`${option} wants a number, not "${text.trim()}"`);
  return Number(text);
}

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

async function readPhoto(path: string): Promise<Blob> {
  try {
    return new Blob([await readFile(path)]);
  } catch (error) {
    throw new BitMarError('missing_file', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

type Output = 'text' | 'json' | 'jsonl';

function showCaption({ text, tokens, logProbability, confidence, timings }: Caption, photo: Photo, output: Output): string {
  if (output === 'text') return text;
  return lineOf({ text, tokens, log_probability: logProbability, confidence }, timings, photo, output);
}

function showAnswer({ answer, declined, tokens, logProbability, confidence, timings }: Answer, photo: Photo, output: Output): string {
  if (output === 'text') return declined ? '(no answer)' : answer;
  return lineOf({ answer, declined, tokens, log_probability: logProbability, confidence }, timings, photo, output);
}

function lineOf(result: object, { visionMs, textMs }: Caption['timings'], photo: Photo, output: Output): string {
  return JSON.stringify({ ...result, vision_ms: visionMs, text_ms: textMs, ...(output === 'jsonl' ? photo : {}) });
}

async function main(args: string[]): Promise<number> {
  try {
    const parsed = parse(args);
    if (typeof parsed === 'string') {
      process.stdout.write(parsed);
      return 0;
    }
    const { photos, output, options } = parsed;
    const model = await BitMar.load(parsed.model ?? findModel(), { worker: false, kvCache: parsed.kvCache });
    for (const asked of photos) {
      const { photo, question } = asked;
      try {
        const file = await readPhoto(photo);
        const shown =
          question === undefined
            ? showCaption(await model.caption(file, options), asked, output)
            : showAnswer(await model.ask(file, question, options), asked, output);
        process.stdout.write(`${shown}\n`);
      } catch (error) {
        if (photos.length === 1 || !(error instanceof BitMarError)) throw error;
        throw new BitMarError(error.code, `${photo}: ${error.message}`, { cause: error });
      }
    }
    model.dispose();
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`bitmar: ${error.message}\n\n${USAGE}`);
      return 2;
    }
    process.stderr.write(`bitmar: ${error instanceof BitMarError ? error.code : 'error'}: ${messageOf(error)}\n`);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
