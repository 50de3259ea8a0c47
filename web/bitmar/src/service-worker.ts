// The package for service workers, which must not import() anything: all that the package imports on demand there is imported at once.

import * as captionAll from './api/caption-all.js';
import { ON_DEMAND } from './api/on-demand.js';
import * as memory from './memory/parts.js';
import { STORES } from './platform/browser.js';
import * as photoFiles from './platform/photo-files.js';
import * as indexedDb from './store/indexeddb.js';
import * as script from './wasm/bitmar-simd.mjs';
import * as hostHere from './worker/host-here.js';
import { LOADERS } from './worker/loaders.js';

ON_DEMAND.hostHere = async () => hostHere;
ON_DEMAND.memory = async () => memory;
ON_DEMAND.captionAll = async () => captionAll;
ON_DEMAND.photoFiles = async () => photoFiles;
STORES.indexedDb = async () => indexedDb;
LOADERS.simd = LOADERS.relaxed = async () => script;

export * from './index.js';
