// The last steps of the package's build, after tsc: the WebAssembly, from where the root's build leaves it; the model's files into its own
// package; and for browsers few files in the place of the many modules, so that it does not matter what a bundler does with them:
//   dist/index.js                           what pages import
//   dist/service-worker.js                  what service workers import, which must not import() anything
//   dist/chunk-*.js                         what these two import, at once or when it is needed
//   dist/worker.js, dist/worker-threads.js  the worker, without any import
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build, transform } from 'esbuild';

const root = new URL('../../../', import.meta.url);
const dist = new URL('../dist/', import.meta.url);
const model = new URL('../../bitmar-model/', import.meta.url);
const built = (name) => new URL(`wasm/dist/${name}`, root);
const path = (name) => fileURLToPath(new URL(name, dist));

const copy = (from, to, missing) =>
  copyFile(from, to).catch((cause) => {
    throw new Error(`${fileURLToPath(from)} is missing: ${missing}`, { cause });
  });

// ---- What is built elsewhere ----
await mkdir(new URL('wasm/', dist), { recursive: true });
for (const name of ['simd.wasm', 'relaxed.wasm', 'relaxed-threads.wasm', 'relaxed-threads.mjs', 'photos.mjs'].map((name) => `bitmar-${name}`)) {
  await copy(built(name), new URL(`wasm/${name}`, dist), 'build the WebAssembly first (npm run build at the root)');
}
// The scripts of the builds with one thread differ in nothing but a file's name that they never ask for: one does for both.
const script = await readFile(built('bitmar-simd.mjs'), 'utf8');
if (script.replaceAll('bitmar-simd', 'bitmar-relaxed') !== (await readFile(built('bitmar-relaxed.mjs'), 'utf8'))) {
  throw new Error('The scripts of the builds simd and relaxed differ: src/worker/loaders.ts and src/worker.ts take one for the other');
}
await writeFile(path('wasm/bitmar-simd.mjs'), (await transform(script, { format: 'esm', minify: true })).code);
await copyFile(new URL('LICENSE', root), new URL('../LICENSE', import.meta.url));
await copyFile(new URL('node_modules/idb/LICENSE', root), path('idb.LICENSE')); // idb is inside the bundles

await rm(new URL('model/', model), { recursive: true, force: true }); // with files of an earlier build, which would be packed
await mkdir(new URL('model/', model), { recursive: true });
for (const name of ['config.json', 'model.safetensors', 'preprocessor_config.json', 'tokenizer.json']) {
  await copy(new URL(`models/default/${name}`, root), new URL(`model/${name}`, model), 'it belongs to the repository');
}
// The checksums of what load() asks for, twice: for who imports the package, and for who knows its folder only.
const parts = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', weights: 'model.safetensors' };
const sums = {};
for (const [part, name] of Object.entries(parts)) {
  sums[part] = createHash('sha256').update(await readFile(new URL(`model/${name}`, model))).digest('hex');
}
await writeFile(new URL('model/checksums.js', model), `export default ${JSON.stringify(sums, null, 2)};\n`);
const byFile = Object.fromEntries(Object.entries(parts).map(([part, name]) => [name, sums[part]]));
await writeFile(new URL('model/manifest.json', model), `${JSON.stringify({ files: byFile }, null, 2)}\n`);

// ---- Bundles ----
const options = {
  outdir: path(''),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  allowOverwrite: true,
  external: ['bitmar-model'],
  logLevel: 'warning',
};
await build({ ...options, entryPoints: [path('worker.js'), path('worker-threads.js')], define: { 'import.meta.url': 'self.location.href' } });
await build({ ...options, entryPoints: [path('index.js'), path('service-worker.js')], splitting: true, chunkNames: 'chunk-[hash]', external: ['bitmar-model', path('wasm/*')] });

// ---- What node runs as it is: without comments and indentation, which are in the repository; names and lines are for who reads a stack ----
const bundles = /^(chunk-.*|index|service-worker|worker|worker-threads)\.js$/;
for (const name of await readdir(dist, { recursive: true })) {
  if (!name.endsWith('.js') || bundles.test(name)) continue;
  await writeFile(path(name), (await transform(await readFile(path(name), 'utf8'), { format: 'esm', target: 'node20', minifyWhitespace: true, lineLimit: 120 })).code);
}

// ---- Types: only those that a user's compiler asks for ----
const needed = new Set();
async function need(name) {
  if (needed.has(name)) return;
  needed.add(name);
  for (const [, other] of (await readFile(path(name), 'utf8')).matchAll(/from '(\..+)\.js'/g)) await need(posix.join(posix.dirname(name), `${other}.d.ts`));
}
for (const name of ['index.d.ts', 'index-node.d.ts', 'service-worker.d.ts', 'worker.d.ts', 'worker-threads.d.ts']) await need(name);
for (const name of await readdir(dist, { recursive: true })) if (name.endsWith('.d.ts') && !needed.has(name)) await rm(path(name));
