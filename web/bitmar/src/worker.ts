// The module of the browser's worker.

import { Host } from './host.js';
import type { Request } from './protocol.js';

const host = new Host((reply) => self.postMessage(reply));
self.onmessage = ({ data }: MessageEvent<Request>) => host.receive(data);
