// The browser's worker, and the engine's other threads: workers that this worker starts from its own address, with Emscripten's name.
// The build makes one file of it, without imports, so that it runs from wherever a bundler puts it.

import createThreads from './wasm/bitmar-relaxed-threads.mjs';
import create from './wasm/bitmar-simd.mjs';

import { Host } from './host.js';
import type { Request } from './protocol.js';

// Of a thread Emscripten's script has taken over already.
if (self.name !== 'em-pthread') {
  const one = async () => ({ default: create });
  const loaders = { simd: one, relaxed: one, 'relaxed-threads': async () => ({ default: createThreads }) };
  const host = new Host((reply) => self.postMessage(reply), loaders);
  self.onmessage = ({ data }: MessageEvent<Request>) => host.receive(data);
}
