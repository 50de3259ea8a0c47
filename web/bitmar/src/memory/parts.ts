// What a memory needs once it is opened.

export { renumbered } from './engine-bytes.js';
export { readArchive, writeArchive } from './archive.js';
export { describe } from './earlier.js';
export { MemoryKeeper } from './keeper.js';
export { keeperOptions } from './opening.js';
