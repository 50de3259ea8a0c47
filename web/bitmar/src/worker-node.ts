// The module of node's worker thread.

import { parentPort } from 'node:worker_threads';

import { Host } from './host.js';
import { LOADERS } from './loaders.js';
import { decodePhoto } from './photos-node.js';
import type { Request } from './protocol.js';

const port = parentPort!;
const host = new Host((reply) => port.postMessage(reply), LOADERS, decodePhoto);
port.on('message', (request: Request) => host.receive(request));
