#!/usr/bin/env node
// bitmar caption PHOTO...: the command line under node, with the options and the output of the native one.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { messageOf } from './errors.js';
import { BitMar, BitMarError, type Caption } from './index-node.js';

const USAGE = `usage: bitmar caption PHOTO... [options]

  --model DIR        the model's directory (otherwise models/default, near here or near the program)
  --prompt TEXT      what the caption should be about
  --json             one JSON object a photo instead of the caption
  --jsonl            the same, one a line, each with its photo's path
  --max-tokens N     at most this many tokens (24)
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
        'max-tokens': { type: 'string' },
        beams: { type: 'string' },
        'length-penalty': { type: 'string' },
        'int8-kv': { type: 'boolean' },
        temperature: { type: 'string' },
        'top-p': { type: 'string' },
        seed: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
  const { values, positionals } = parsed;
  const [command, ...photos] = positionals;
  if (values.help || command === 'help') return undefined;
  if (command === undefined) throw new UsageError('what shall be done?');
  if (command !== 'caption') throw new UsageError(`there is no command "${command}"`);
  if (photos.length === 0) throw new UsageError('which photo?');
  return {
    photos,
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

function number(option: string, text: string | undefined, form = /^-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i): number | undefined {
  if (text === undefined) return undefined;
  if (!form.test(text.trim())) throw new UsageError(`${option} wants a number, not "${text.trim()}"`);
  return Number(text);
}

function findModel(): string {
  for (const start of [process.cwd(), dirname(fileURLToPath(import.meta.url))]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const candidate = join(folder, 'models', 'default');
      if (existsSync(join(candidate, 'config.json'))) return candidate;
      if (folder === dirname(folder)) break;
    }
  }
  throw new BitMarError('missing_file', 'there is no models/default here or near the program: use --model DIR');
}

async function readPhoto(path: string): Promise<Blob> {
  try {
    return new Blob([await readFile(path)]);
  } catch (error) {
    throw new BitMarError('missing_file', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function show({ text, tokens, logProbability, confidence, timings }: Caption, photo: string, output: 'text' | 'json' | 'jsonl'): string {
  if (output === 'text') return text;
  const { visionMs, textMs } = timings;
  const line = { text, tokens, log_probability: logProbability, confidence, vision_ms: visionMs, text_ms: textMs };
  return JSON.stringify(output === 'jsonl' ? { ...line, photo } : line);
}

async function main(args: string[]): Promise<number> {
  try {
    const parsed = parse(args);
    if (!parsed) {
      process.stdout.write(USAGE);
      return 0;
    }
    const { photos, output, options } = parsed;
    const model = await BitMar.load(parsed.model ?? findModel(), { worker: false, kvCache: parsed.kvCache });
    for (const photo of photos) {
      try {
        process.stdout.write(`${show(await model.caption(await readPhoto(photo), options), photo, output)}\n`);
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
