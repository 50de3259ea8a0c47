// Checks arguments before they are copied, posted or converted, because callers may not use TypeScript; errors use the words of the API.
// The engine checks again what it is given.

import { BitMarError, messageOf, type ErrorCode } from './errors.js';
import { MOST_BYTES, MOST_PHOTO_BYTES, MOST_PIXELS, MOST_READ_BYTES, MOST_SIDE, MOST_TEXT_BYTES } from './limits.js';

const TOO_LARGE: Record<keyof typeof MOST_BYTES, ErrorCode> = {
  config: 'invalid_config',
  preprocessor: 'invalid_config',
  tokenizer: 'invalid_model',
  weights: 'invalid_model',
};

// Options of these names mean the same in every method.
const OPTIONAL_FUNCTIONS = ['fetch', 'onState', 'onProgress', 'onToken', 'onFrame', 'onError'] as const;
const OPTIONAL_BOOLEANS = ['worker', 'cache', 'readMemory', 'writeMemory', 'shrink'] as const;

export function wrong(message: string, cause?: unknown): BitMarError {
  return new BitMarError('invalid_argument', message, { cause });
}

/** The error of a value that is not what it must be. */
export function unlike(name: string, expected: string, value: unknown): BitMarError {
  return wrong(`${name} must be ${expected}, not ${nameOf(value)}`);
}

/** What is read of the caller's objects, whose getters may throw. */
export function reading<Result>(what: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof BitMarError) throw error;
    throw wrong(`${what} cannot be read: ${messageOf(error)}`, error);
  }
}

/** For messages. */
export function nameOf(value: unknown): string {
  try {
    return describe(value);
  } catch {
    return 'an object'; // one that throws when it is looked at
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  if (isObject(value)) return value.constructor?.name ? `a value of the kind ${value.constructor.name}` : 'an object';
  return String(value);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Whether it is of one of these classes, of whichever realm: what comes from a frame is no instance of this page's classes. */
export function isA(value: unknown, ...classes: string[]): boolean {
  try {
    return classes.includes(Object.prototype.toString.call(value).slice('[object '.length, -1));
  } catch {
    return false; // it throws when it is looked at
  }
}

/** Of recall and embed. */
export function checkImageOrText(method: string, image: unknown, text: unknown): void {
  if (!isSet(image) && typeof text !== 'string') throw wrong(`${method}() needs an image, a text, or both`);
  if (isSet(text)) checkText('text', text);
}

export function isAddress(value: unknown): value is string | URL {
  return typeof value === 'string' || isA(value, 'URL');
}

/** An object of options for that method: what may stand under the names that several methods share. Null there is as good as nothing. */
export function checkOptions(options: unknown, method: string): void {
  if (!isObject(options)) throw unlike(`The options of ${method}()`, 'an object', options);
  // Once, so that a getter that throws is known before anything has begun.
  reading(`The options of ${method}()`, () => {
    for (const name in options) void options[name];
    checkNamed(options);
  });
}

function checkNamed(options: Record<string, unknown>): void {
  checkSignal(options.signal);
  for (const name of OPTIONAL_FUNCTIONS) if (isSet(options[name])) checkFunction(name, options[name]);
  for (const name of OPTIONAL_BOOLEANS) if (isSet(options[name])) checkBoolean(name, options[name]);
}

/** By what it can do: that of another frame is another class. */
export function checkSignal(signal: unknown): void {
  if (!isSet(signal)) return; // as for fetch
  const fits = reading('signal', () => isObject(signal) && typeof signal.aborted === 'boolean' && ['addEventListener', 'removeEventListener'].every((name) => typeof signal[name] === 'function'));
  if (fits) return;
  throw unlike('signal', 'an AbortSignal', signal);
}

export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw unlike(name, 'a function', value);
}

export function checkBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw unlike(name, 'true or false', value);
}

export function checkOneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (!(allowed as readonly unknown[]).includes(value)) throw unlike(name, `one of ${allowed.map((each) => `'${each}'`).join(', ')}`, value);
}

/** A whole number from `least` to `most`. */
export function checkWhole(name: string, value: unknown, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
    throw unlike(name, `a whole number from ${least} to ${most}`, value);
  }
}

/** A number from `least` to `most`; not NaN. */
export function checkNumber(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number' || !(value >= least && value <= most)) throw unlike(name, `a number from ${least} to ${most}`, value);
}

/** A number of any size; neither NaN nor infinite. */
export function checkFinite(name: string, value: unknown): void {
  if (!Number.isFinite(value)) throw unlike(name, 'a finite number', value);
}

/** A time, as of Date.now(): the engine takes what JavaScript's dates can be. */
export function checkTime(name: string, value: unknown): void {
  if (typeof value !== 'number' || !(Math.abs(value) <= 8.64e15)) throw unlike(name, 'a time in milliseconds since 1970', value);
}

/**
 * A text of at most so many bytes. Half a surrogate pair is no character: where JavaScript's strings become UTF-8 it would be
 * another one.
 */
export function checkText(name: string, text: unknown, most = MOST_TEXT_BYTES): asserts text is string {
  if (typeof text !== 'string') throw unlike(name, 'a string', text);
  // A string has no fewer bytes than units, so that a long one is not even looked at.
  if (text.length > most || bytesOf(text) > most) throw new BitMarError('text_too_long', `${name} may have ${most} bytes of UTF-8`);
  if (hasHalfPair(text)) throw new BitMarError('invalid_text', `${name} holds half a surrogate pair`);
}

/** A copy of a caller's list of texts for the decoder to read, none of them empty: read once, so that what was checked is what is used. */
export function textsOf(name: string, list: unknown): string[] {
  const texts = reading(name, () => {
    if (!Array.isArray(list) || list.length === 0) throw unlike(name, 'an array of texts', list);
    return Array.from({ length: list.length }, (_, i) => list[i] as unknown);
  });
  return texts.map((text, i) => {
    checkText(`${name}[${i}]`, text, MOST_READ_BYTES);
    if (text === '') throw wrong(`${name}[${i}] is empty`);
    return text;
  });
}

/** The bytes of one of the model's files, so far or as announced. */
export function checkPixels(width: number, height: number): void {
  if (width <= MOST_SIDE && height <= MOST_SIDE && width * height <= MOST_PIXELS) return;
  throw new BitMarError('image_too_large', `The picture has ${width} x ${height} pixels; the limits are ${MOST_SIDE} a side and ${MOST_PIXELS} together`);
}

export function checkFileSize(part: keyof typeof MOST_BYTES, bytes: number): void {
  const most = MOST_BYTES[part];
  if (bytes > most) throw new BitMarError(TOO_LARGE[part], `The file of the model's ${part} has ${bytes} bytes; ${most} are the limit`);
}

/** A photo's file that is not the browser's own to read. */
export function checkPhotoSize(bytes: number): void {
  if (bytes > MOST_PHOTO_BYTES) throw new BitMarError('image_too_large', `The file has ${bytes} bytes; ${MOST_PHOTO_BYTES} are the limit`);
}

/** One of the model's JSON files, given as a string. */
export function checkFileText(part: 'config' | 'preprocessor' | 'tokenizer', text: unknown): void {
  if (typeof text !== 'string') throw unlike(`The model's ${part}`, 'a string', text);
  checkFileSize(part, text.length);
  checkFileSize(part, bytesOf(text));
  if (hasHalfPair(text)) throw new BitMarError(TOO_LARGE[part], `The model's ${part} holds half a surrogate pair`);
}

/** What the function copies of the caller's. */
export function copied<Copy>(copy: () => Copy, what: string): Copy {
  try {
    return copy();
  } catch (cause) {
    if (cause instanceof RangeError) throw new BitMarError('out_of_memory', `There is no memory for a copy of ${what}`, { cause });
    throw wrong(`The contents of ${what} are gone: their buffer was handed to a worker`, cause);
  }
}

/** Of UTF-8. */
export function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

function hasHalfPair(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

export function isSet(value: unknown): boolean {
  return value !== undefined && value !== null;
}
