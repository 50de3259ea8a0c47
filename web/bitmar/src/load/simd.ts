// Finds out which build runs here, by feature detection: the smallest module that uses a feature either validates or does not.

import { BitMarError } from '../api/errors.js';
import type { Build } from '../api/types.js';

// (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt)
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
// (func (result v128) i32.const 1 i8x16.splat i32.const 2 i8x16.splat i8x16.relaxed_swizzle)
const RELAXED = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
];

// (func try catch_all end)
const EXCEPTIONS = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 8, 1, 6, 0, 6, 64, 25, 11, 11];

function validates(bytes: number[]): boolean {
  return typeof WebAssembly === 'object' && WebAssembly.validate(new Uint8Array(bytes));
}

/** The first to have all that is needed: SIMD and exceptions in WebAssembly, module workers, OffscreenCanvas. */
const LOWEST_BROWSERS = 'Chrome and Edge 95, Firefox 114, Safari 16.4';

export const BUILDS: readonly Build[] = ['simd', 'relaxed', 'relaxed-threads'];

/** The build that this platform runs best, with threads or without. Throws 'unsupported_platform' where none runs. */
export function bestBuild(threads: boolean): Build {
  const missing = !validates(SIMD) ? 'SIMD' : !validates(EXCEPTIONS) ? 'exceptions' : undefined;
  if (missing) {
    const message = `BitMar needs WebAssembly ${missing}, which this browser does not have or has switched off. It runs in ${LOWEST_BROWSERS}, and later ones`;
    throw new BitMarError('unsupported_platform', message);
  }
  if (!validates(RELAXED)) return 'simd';
  return threads ? 'relaxed-threads' : 'relaxed';
}
