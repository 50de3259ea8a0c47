// The module of node's worker thread.

import { parentPort } from 'node:worker_threads';

import { decodePhoto } from './platform/photos-node.js';
import { Host } from './worker/host.js';
import { LOADERS } from './worker/loaders.js';
import type { Request } from './worker/protocol.js';

const port = parentPort!;
const host = new Host((reply) => port.postMessage(reply), LOADERS, decodePhoto);
port.on('message', (request: Request) => host.receive(request));
