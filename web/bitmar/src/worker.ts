// The browser's worker of the builds with one thread. The package's build makes one file of it, without imports, so that it runs from wherever a
// bundler puts it.

import create from './wasm/bitmar-simd.mjs';

import { Host } from './worker/host.js';
import type { Request } from './worker/protocol.js';

const one = async () => ({ default: create });
const host = new Host((reply) => self.postMessage(reply), { simd: one, relaxed: one });
self.onmessage = ({ data }: MessageEvent<Request>) => host.receive(data);
