#!/usr/bin/env node
// bitmar caption PHOTO: the command line, with the options and the output of the native one.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { BitMar, BitMarError, type Caption } from './index-node.js';
import { messageOf } from './errors.js';

const USAGE = `usage: bitmar caption PHOTO [options]

  --model DIR       folder of the model (default: $BITMAR_MODEL, or models/default)
  --prompt TEXT     text that the caption is to take into account
  --beams N         search over N beams (default: 1, greedy)
  --max-tokens N    at most N tokens (default: 24)
  --json            {"text", "tokens", "log_probability", "vision_ms", "text_ms"}
`;

class UsageError extends Error {}

function parse(args: string[]) {
  let parsed;
  try {
    parsed = parseArgs({
      args,
      allowPositionals: true,
      options: {
        model: { type: 'string' },
        prompt: { type: 'string' },
        beams: { type: 'string' },
        'max-tokens': { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
  const { values, positionals } = parsed;
  const [command, photo, ...rest] = positionals;
  if (values.help) return { help: true } as const;
  if (command !== 'caption') throw new UsageError(command ? `unknown command: ${command}` : 'a command is missing');
  if (!photo) throw new UsageError('the photo is missing');
  if (rest.length) throw new UsageError(`one photo at a time: ${rest.join(' ')}`);
  return {
    help: false,
    photo,
    json: values.json ?? false,
    model: values.model ?? process.env.BITMAR_MODEL ?? defaultModel(),
    prompt: values.prompt,
    numBeams: wholeNumber('--beams', values.beams),
    maxTokens: wholeNumber('--max-tokens', values['max-tokens']),
  } as const;
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new UsageError(`${option} takes a whole number from 1 on, not ${text}`);
  return Number(text);
}

/** models/default of the repository that this package is in, wherever the command is run from. */
function defaultModel(): string {
  return fileURLToPath(new URL('../../../models/default', import.meta.url));
}

function jsonLine({ text, tokens, logProbability, timings }: Caption): string {
  const { visionMs, textMs } = timings;
  return JSON.stringify({ text, tokens, log_probability: logProbability, vision_ms: visionMs, text_ms: textMs });
}

async function readPhoto(path: string): Promise<Blob> {
  try {
    return new Blob([await readFile(path)]);
  } catch (error) {
    throw new BitMarError('missing_file', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

async function main(args: string[]): Promise<number> {
  try {
    const options = parse(args);
    if (options.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    const photo = await readPhoto(options.photo);
    const model = await BitMar.load(options.model, { worker: false });
    try {
      const caption = await model.caption(photo, options);
      process.stdout.write(`${options.json ? jsonLine(caption) : caption.text}\n`);
    } finally {
      model.dispose();
    }
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
