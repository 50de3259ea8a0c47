// Checks of what callers without types hand over, in the words of the API. What is wrong is an 'invalid_argument'.

import { BitMarError } from './errors.js';

const OPTIONAL_FUNCTIONS = ['onProgress', 'onToken', 'onFrame', 'onError'] as const;
const OPTIONAL_BOOLEANS = ['worker', 'readMemory', 'writeMemory'] as const;

/** An object of options for that method: what may stand under the names that several methods share. Null there is as good as nothing. */
export function checkOptions(options: unknown, method: string): void {
  if (!isObject(options)) throw wrong(`The options of ${method}() are an object, not ${nameOf(options)}`);
  checkSignal(options.signal);
  for (const name of OPTIONAL_FUNCTIONS) {
    const value = options[name] ?? undefined;
    if (value !== undefined && typeof value !== 'function') throw wrong(`${name} is a function, not ${nameOf(value)}`);
  }
  for (const name of OPTIONAL_BOOLEANS) {
    const value = options[name] ?? undefined;
    if (value !== undefined && typeof value !== 'boolean') throw wrong(`${name} is true or false, not ${nameOf(value)}`);
  }
}

/** By what it can do: that of another frame is another class. */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal === null) return; // as for fetch
  if (isObject(signal) && typeof signal.aborted === 'boolean' && typeof signal.addEventListener === 'function') return;
  throw wrong(`signal is an AbortSignal, not ${nameOf(signal)}`);
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

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

export function wrong(message: string, cause?: unknown): BitMarError {
  return new BitMarError('invalid_argument', message, { cause });
}

/** For messages. */
export function nameOf(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  if (isObject(value)) return value.constructor?.name ? `a value of the kind ${value.constructor.name}` : 'an object';
  return String(value);
}
