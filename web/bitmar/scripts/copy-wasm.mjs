// The last step of the package's build: the WebAssembly builds and the licence, from where the root's build leaves them.
import { copyFile, mkdir } from 'node:fs/promises';

const root = new URL('../../../', import.meta.url);
const out = new URL('../dist/wasm/', import.meta.url);
await mkdir(out, { recursive: true });
const builds = ['simd', 'relaxed', 'relaxed-threads'].flatMap((build) => [`bitmar-${build}.mjs`, `bitmar-${build}.wasm`]);
for (const name of [...builds, 'bitmar-photos.mjs']) {
  await copyFile(new URL(`wasm/dist/${name}`, root), new URL(name, out)).catch((error) => {
    throw new Error(`${name} is missing: build the WebAssembly first (npm run build at the root)`, { cause: error });
  });
}
await copyFile(new URL('LICENSE', root), new URL('../LICENSE', import.meta.url));
