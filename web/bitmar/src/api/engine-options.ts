// What a caption's or an answer's options are to the engine, checked.

import type { EngineAskOptions, EngineExplainOptions, EngineOptions } from '../engine.js';
import { checkNumber, checkText, checkWhole, unlike } from './check.js';
import { MOST_BEAMS, MOST_EXPECTED, MOST_READ_BYTES, MOST_TOKENS } from './limits.js';
import type { AskOptions, CaptionOptions, CompleteOptions, ExplainOptions } from './types.js';

export function engineOptions(options: CaptionOptions): Omit<EngineOptions, 'readMemory'> {
  const { prompt = '', maxTokens = 24, numBeams = 1, lengthPenalty, temperature = 0, topP = 1, seed = 0 } = options;
  checkText('prompt', prompt);
  checkWhole('maxTokens', maxTokens, 1, MOST_TOKENS);
  checkWhole('numBeams', numBeams, 1, MOST_BEAMS);
  if (lengthPenalty !== undefined) checkNumber('lengthPenalty', lengthPenalty, -10, 10);
  checkNumber('temperature', temperature, 0, 1000);
  if (!(typeof topP === 'number' && topP > 0 && topP <= 1)) throw unlike('topP', 'a number above 0, up to 1', topP);
  checkWhole('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  return { prompt, maxTokens, numBeams, lengthPenalty, temperature, topP, seed, prefix: '' };
}

/** The memory has no part in what goes on from a text. */
export function engineCompleteOptions(prefix: string, { maxTokens, temperature, topP, seed }: CompleteOptions): EngineOptions {
  checkText('prefix', prefix, MOST_READ_BYTES);
  return { ...engineOptions({ maxTokens, temperature, topP, seed }), readMemory: false, prefix };
}

export function engineAskOptions({ numBeams = 1, maxTokens }: AskOptions): EngineAskOptions {
  checkWhole('numBeams', numBeams, 1, MOST_BEAMS);
  if (maxTokens !== undefined) checkWhole('maxTokens', maxTokens, 1, MOST_TOKENS);
  return { numBeams, maxTokens: maxTokens ?? null };
}

export function engineExplainOptions({ prompt = '', withoutEpisode = 0, expected = 12 }: ExplainOptions): Omit<EngineExplainOptions, 'readMemory'> {
  checkText('prompt', prompt);
  checkWhole('withoutEpisode', withoutEpisode, 0, Number.MAX_SAFE_INTEGER);
  checkWhole('expected', expected, 0, MOST_EXPECTED);
  return { prompt, withoutEpisode, expected };
}
