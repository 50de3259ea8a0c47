// The package for service workers, which must not import() anything: all that the package imports on demand is imported at once.

import * as hostHere from './host-here.js';
import { LOADERS } from './loaders.js';
import * as archive from './memory-archive.js';
import * as earlier from './memory-earlier.js';
import { ON_DEMAND } from './on-demand.js';
import { STORES } from './platform-browser.js';
import * as indexedDb from './store-indexeddb.js';
import * as script from './wasm/bitmar-simd.mjs';

ON_DEMAND.hostHere = async () => hostHere;
ON_DEMAND.archive = async () => archive;
ON_DEMAND.earlier = async () => earlier;
STORES.indexedDb = async () => indexedDb;
LOADERS.simd = LOADERS.relaxed = async () => script;

export * from './index.js';
