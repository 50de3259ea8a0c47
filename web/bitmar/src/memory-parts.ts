// What a memory needs once it is opened.

export { renumbered } from './engine-bytes.js';
export { readArchive, writeArchive } from './memory-archive.js';
export { describe } from './memory-earlier.js';
export { MemoryKeeper } from './memory-keeper.js';
export { keeperOptions } from './memory-opening.js';
