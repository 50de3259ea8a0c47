// The browser's worker of the build with threads, and the other threads: workers that this worker starts from its own address, with Emscripten's
// name. One file, as worker.ts is; not the same one, because a page downloads one of them.

import create from './wasm/bitmar-relaxed-threads.mjs';

import { Host } from './worker/host.js';
import type { Request } from './worker/protocol.js';

// In another thread Emscripten's script has taken over already.
if (self.name !== 'em-pthread') {
  const host = new Host((reply) => self.postMessage(reply), { 'relaxed-threads': async () => ({ default: create }) });
  self.onmessage = ({ data }: MessageEvent<Request>) => host.receive(data);
}
