import type { PhotosModule } from '../engine.js';

/** The file itself is built from wasm/ at the root of the repository; its WebAssembly is inside. */
declare const createPhotos: () => Promise<PhotosModule>;
export default createPhotos;
