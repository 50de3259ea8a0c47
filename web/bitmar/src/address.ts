import { wrong } from './check.js';

/** An absolute address. */
export function addressOf(address: string | URL, base?: string): URL {
  try {
    return new URL(address, base);
  } catch (cause) {
    throw wrong(`${String(address)} is no address`, cause);
  }
}
