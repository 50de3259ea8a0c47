// What callers hand over, checked before it is copied, posted or cast. The engine checks again what it is given.

import { BitMarError, type ErrorCode } from './errors.js';

/** Bytes of UTF-8 that a prompt or a text to recall by may have, and a label. The same in src/model/engine.h and src/io/memory_state.h. */
export const MOST_TEXT_BYTES = 1 << 16;
export const MOST_LABEL_BYTES = 63;

/** Bytes of a model's files, as in src/io and src/model/model_files.cpp. */
export const MOST_BYTES = { config: 1 << 20, preprocessor: 1 << 20, tokenizer: 8 << 20, weights: 512 << 20 } as const;

const TOO_LARGE: Record<keyof typeof MOST_BYTES, ErrorCode> = {
  config: 'invalid_config',
  preprocessor: 'invalid_config',
  tokenizer: 'invalid_model',
  weights: 'invalid_model',
};

/** A whole number from `least` to `most`. */
export function checkWhole(name: string, value: unknown, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
    throw new BitMarError('invalid_argument', `${name} must be a whole number from ${least} to ${most}, not ${String(value)}`);
  }
}

/** A number from `least` to `most`; not NaN. */
export function checkNumber(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number' || !(value >= least && value <= most)) {
    throw new BitMarError('invalid_argument', `${name} must be a number from ${least} to ${most}, not ${String(value)}`);
  }
}

/**
 * A text of at most so many bytes. Half a surrogate pair is no character: where JavaScript's strings become UTF-8 it would be
 * another one.
 */
export function checkText(name: string, text: unknown, most = MOST_TEXT_BYTES): asserts text is string {
  if (typeof text !== 'string') throw new BitMarError('invalid_argument', `${name} must be a string`);
  // A string has no fewer bytes than units, so that a long one is not even looked at.
  if (text.length > most || bytesOf(text) > most) throw new BitMarError('text_too_long', `${name} may have ${most} bytes of UTF-8`);
  if (/\p{Surrogate}/u.test(text)) throw new BitMarError('invalid_text', `${name} holds half a surrogate pair`);
}

/** The bytes of one of the model's files, so far or as announced. */
export function checkFileSize(part: keyof typeof MOST_BYTES, bytes: number): void {
  const most = MOST_BYTES[part];
  if (bytes > most) throw new BitMarError(TOO_LARGE[part], `The file of the model's ${part} has ${bytes} bytes; ${most} are the limit`);
}

/** One of the model's JSON files, given as a string. */
export function checkFileText(part: 'config' | 'preprocessor' | 'tokenizer', text: unknown): void {
  if (typeof text !== 'string') throw new BitMarError('invalid_argument', `${part} must be a string`);
  checkFileSize(part, text.length);
  checkFileSize(part, bytesOf(text));
  if (/\p{Surrogate}/u.test(text)) throw new BitMarError(TOO_LARGE[part], `The model's ${part} holds half a surrogate pair`);
}

/** Of UTF-8. */
export function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}
