import type { CreateModule } from '../engine.js';

/** The file itself is built from wasm/ at the root of the repository. */
declare const createBitMar: CreateModule;
export default createBitMar;
