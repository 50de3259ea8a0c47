// Model files in the browser's Cache API, by their SHA-256: every page of the origin finds them there, at the next visit too.

import type { KeptFiles } from './platform.js';

const CACHE = 'bitmar model files';

/** The oldest go: what is left are four models with their manifests. */
const MOST_FILES = 20;

const keyOf = (sha256: string) => `/bitmar-model-files/${sha256}`;

export const keptFiles: KeptFiles = {
  async get(sha256) {
    const found = await (await caches.open(CACHE)).match(keyOf(sha256));
    return found && new Uint8Array(await found.arrayBuffer());
  },

  async put(sha256, bytes) {
    const cache = await caches.open(CACHE);
    await cache.put(keyOf(sha256), new Response(bytes as Uint8Array<ArrayBuffer>));
    const keys = await cache.keys(); // in the order in which they came
    await Promise.all(keys.slice(0, Math.max(0, keys.length - MOST_FILES)).map((key) => cache.delete(key)));
  },

  async drop(sha256) {
    await (await caches.open(CACHE)).delete(keyOf(sha256));
  },
};
