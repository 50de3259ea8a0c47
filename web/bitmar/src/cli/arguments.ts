// The command line under node, parsed. Its options are those of the native one (src/cli/arguments.cpp), and `serve`.

import { closeSync, openSync, readSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { BitMarError, messageOf } from '../api/errors.js';

export const USAGE = `usage: bitmar caption PHOTO... [options]
       bitmar ask PHOTO QUESTION [options]
       bitmar embed [PHOTO...] [--text TEXT] [--texts FILE]
       bitmar score [PHOTO] [--prefix TEXT] --text TEXT... [--texts FILE]
       bitmar complete [PHOTO] [--prefix TEXT] [options]
       bitmar info [--model DIR]
       bitmar serve [--port N] [--no-open]
       bitmar --version

  A PHOTO is a file, a folder (its JPEG and PNG files, and those of its folders) or - (standard input). What is wrong with one photo does not
  keep the next from its turn; the exit status is then 1.

  --model DIR        the model's directory (otherwise models/default, near here or near the program, or the package bitmar-model)
  --prompt TEXT      what the caption should be about
  --json             one JSON object a photo instead of the caption or answer; errors too, on standard output
  --jsonl            the same, one a line, each with its photo's path
  --list FILE        more photos, one path a line; of ask: a photo, a tab and a question a line; - is stdin
  --text TEXT        a text to embed or to score, as it stands: " dog" goes on with a word; --texts FILE: one a line
  --prefix TEXT      the text before the texts to score, or the text that complete continues
  --max-tokens N     at most this many tokens (24; of answers the model's own)
  --beams N          beam search (1: greedy), with --length-penalty P (more: longer captions)
  --int8-kv          keep the decoder's keys and values as int8: less memory, a little less exact
  --threads N        share the work on a photo among N threads (1, and never more under node)
  --temperature T    sample instead, with --top-p P (1) and --seed N (0)
`;

/** Of a list for the command line, as natively. */
const MOST_LIST_BYTES = 16 << 20;
const MOST_LINES = 1 << 18;

export const STANDARD_INPUT = '-';

export class UsageError extends Error {}

export type Output = 'text' | 'json' | 'jsonl';

/** A photo, as it was named, and what is asked about it. */
export interface Asked {
  readonly photo: string;
  readonly question?: string;
}

const OPTIONS = {
  model: { type: 'string' },
  prompt: { type: 'string' },
  json: { type: 'boolean' },
  jsonl: { type: 'boolean' },
  list: { type: 'string' },
  text: { type: 'string', multiple: true },
  texts: { type: 'string', multiple: true },
  prefix: { type: 'string' },
  'max-tokens': { type: 'string' },
  beams: { type: 'string' },
  'length-penalty': { type: 'string' },
  'int8-kv': { type: 'boolean' },
  threads: { type: 'string' },
  temperature: { type: 'string' },
  'top-p': { type: 'string' },
  seed: { type: 'string' },
  port: { type: 'string' },
  'no-open': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const;

const COMMANDS = ['caption', 'ask', 'embed', 'score', 'complete', 'info', 'serve', 'help', 'version'] as const;
type Command = (typeof COMMANDS)[number];

export function parse(args: string[]) {
  const { values, positionals, given } = read(args);
  const [word, ...words] = positionals;
  const command = values.help ? 'help' : values.version ? 'version' : word;
  if (command === undefined) throw new UsageError('what shall be done?');
  if (!isCommand(command)) throw new UsageError(`there is no command "${command}"`);
  const lines = values.list === undefined ? [] : linesOf(values.list);
  const texts = given.flatMap(({ name, value = '' }) => (name === 'text' ? [value] : name === 'texts' ? linesOf(value) : []));
  // Photos without a question are captioned.
  const asked = command === 'ask' ? questionsOf(words, lines) : [...lines, ...words].map((photo) => ({ photo }));
  if (command === 'caption' && asked.length === 0) throw new UsageError('which photo?');
  if (command === 'embed' && asked.length + texts.length === 0) throw new UsageError('which photo or text?');
  if (command === 'score' && texts.length === 0) throw new UsageError('which text?');
  if (command !== 'score' && command !== 'complete' && values.prefix !== undefined) throw new UsageError('only score and complete take a prefix');
  if (command === 'complete') {
    for (const name of ['prompt', 'beams', 'length-penalty'] as const) if (values[name] !== undefined) throw new UsageError(`complete takes no --${name}`);
  }
  if (command !== 'embed' && command !== 'score' && texts.length > 0) throw new UsageError('only embed and score take a text');
  if ((command === 'info' || command === 'serve') && asked.length > 0) throw new UsageError(`${command} takes no photo`);
  return {
    command,
    asked,
    texts,
    prefix: values.prefix,
    output: outputOf(values),
    model: values.model,
    load: { kvCache: values['int8-kv'] ? 'int8' : 'float32', threads: number('--threads', values.threads, /^-?\d+$/) },
    serve: { port: number('--port', values.port, /^\d{1,5}$/) ?? 8080, open: !values['no-open'] },
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

/** Before anything is parsed, for the errors of parsing: whether they shall be JSON. */
export function wantsJson(args: readonly string[]): boolean {
  return args.includes('--json') || args.includes('--jsonl');
}

function read(args: string[]) {
  try {
    const { values, positionals, tokens } = parseArgs({ args: withNumbers(args), allowPositionals: true, options: OPTIONS, tokens: true });
    return { values, positionals, given: tokens.filter((token) => token.kind === 'option') }; // in their order
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** A negative number is a value, as natively: --name -1 as --name=-1. */
function withNumbers(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1);
    if (/^-[\d.]/.test(arg) && before && /^--\w[^=]*$/.test(before) && !joined.includes('--')) joined[joined.length - 1] = `${before}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

function isCommand(word: string): word is Command {
  return (COMMANDS as readonly string[]).includes(word);
}

function outputOf({ json, jsonl }: { json?: boolean | undefined; jsonl?: boolean | undefined }): Output {
  return jsonl ? 'jsonl' : json ? 'json' : 'text';
}

function linesOf(list: string): string[] {
  const bytes = beginningOf(list);
  const lines = bytes.length > MOST_LIST_BYTES ? [] : bytes.toString('latin1').split(/\r?\n/);
  if (bytes.length > MOST_LIST_BYTES || lines.length > MOST_LINES + 1) {
    throw new UsageError(`${list} has more than ${MOST_LINES} lines or ${MOST_LIST_BYTES} bytes`);
  }
  return lines.filter(Boolean).map((line) => utf8(Buffer.from(line, 'latin1'), list));
}

function utf8(line: Buffer, list: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(line);
  } catch (cause) {
    throw new BitMarError('invalid_text', `${list} has a line that is not UTF-8`, { cause });
  }
}

/** As much of a list as one may have, and a byte more: a device or a pipe may never end. */
function beginningOf(list: string): Buffer {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    const file = list === STANDARD_INPUT ? 0 : openSync(list, 'r');
    try {
      while (bytes <= MOST_LIST_BYTES) {
        const chunk = Buffer.alloc(1 << 16);
        const read = readSync(file, chunk);
        if (read === 0) break;
        chunks.push(chunk.subarray(0, read));
        bytes += read;
      }
    } finally {
      if (file !== 0) closeSync(file);
    }
  } catch (error) {
    throw new BitMarError('missing_file', `${list} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  return Buffer.concat(chunks);
}

function questionsOf(words: string[], lines: string[]): Asked[] {
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
