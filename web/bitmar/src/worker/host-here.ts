// The host in the caller's own thread.

import type { Platform } from '../platform/platform.js';
import { Host } from './host.js';
import { LOADERS } from './loaders.js';
import type { Reply } from './protocol.js';

export function hostHere(reply: (reply: Reply) => void, decodePhoto: Platform['decodePhoto']): Host {
  return new Host(reply, LOADERS, decodePhoto);
}
