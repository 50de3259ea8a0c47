import type { CreateModule } from '../engine.js';

/** The file itself is built from wasm/ at the root of the repository. It starts both builds with one thread. */
declare const createBitMar: CreateModule;
export default createBitMar;
