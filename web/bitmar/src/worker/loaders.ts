import type { Loaders } from './host.js';

/** Emscripten's script is the same for the builds with one thread; the package's build checks that. */
const one = () => import('../wasm/bitmar-simd.mjs');

/** Of a host in this thread. */
export const LOADERS: Loaders = { simd: one, relaxed: one };
