import { BitMarError } from './errors.js';

/** An absolute address. */
export function addressOf(address: string | URL, base?: string): URL {
  try {
    return new URL(address, base);
  } catch (cause) {
    throw new BitMarError('invalid_argument', `${String(address)} is no address`, { cause });
  }
}
