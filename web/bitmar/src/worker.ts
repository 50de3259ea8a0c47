// The module of the browser's worker, and of the engine's other threads: workers that this worker starts with Emscripten's name.

import { Host } from './host.js';
import type { Request } from './protocol.js';

if (self.name === 'em-pthread') {
  // Emscripten's script takes over as soon as it is here. What comes before waits.
  const early: MessageEvent[] = [];
  self.onmessage = (event) => early.push(event);
  await import('./wasm/bitmar-relaxed-threads.mjs');
  for (const event of early) self.onmessage(event);
} else {
  const host = new Host((reply) => self.postMessage(reply));
  self.onmessage = ({ data }: MessageEvent<Request>) => host.receive(data);
}
