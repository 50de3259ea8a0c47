import type { EngineModule } from '../engine.js';

/** Emscripten's module factory; the file itself is built from wasm/ at the root of the repository. */
export default function createBitMar(options: { wasmBinary: Uint8Array }): Promise<EngineModule>;
