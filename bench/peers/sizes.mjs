// What a page downloads of each runtime before any model, in gzip bytes: one WebAssembly file and the scripts that it loads,
// minified, as the packages come.
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

const PACKAGES = 'bench/peers/node_modules/';
const size = (content) => gzipSync(content, { level: 9 }).length;

/** The scripts of our package that a page loads which computes in a worker. */
async function scripts(root, build) {
  const found = new Set();
  const need = async (name) => {
    if (found.has(name)) return;
    found.add(name);
    const text = await readFile(new URL(`web/bitmar/dist/${name}`, root), 'utf8');
    for (const [, other] of text.matchAll(/from"\.\/(.+?)"/g)) await need(other);
  };
  await need('index.js');
  await need(build === 'relaxed-threads' ? 'worker-threads.js' : 'worker.js');
  return [...found].map((name) => `web/bitmar/dist/${name}`);
}

/** [{ name, wasm, js }] */
export async function sizes(root) {
  const gzip = async (files) => {
    const contents = await Promise.all(files.map((file) => readFile(new URL(file, root))));
    return contents.reduce((sum, content) => sum + size(content), 0);
  };
  const wasmOf = (build) => `web/bitmar/dist/wasm/bitmar-${build}.wasm`;
  const ort = `${PACKAGES}onnxruntime-web/dist/`;
  const wllama = `${PACKAGES}@wllama/wllama/esm/`;
  const tfjs = `${PACKAGES}@tensorflow/`;
  const packages = {
    'onnxruntime-web': { wasm: [`${ort}ort-wasm-simd-threaded.wasm`], js: [`${ort}ort.wasm.min.mjs`, `${ort}ort-wasm-simd-threaded.mjs`] },
    wllama: { wasm: [`${wllama}wasm/wllama.wasm`], js: [`${wllama}index.min.js`] },
    'tfjs-wasm': {
      wasm: [`${tfjs}tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-simd.wasm`],
      js: [`${tfjs}tfjs-core/dist/tf-core.min.js`, `${tfjs}tfjs-backend-wasm/dist/tf-backend-wasm.min.js`],
    },
  };
  const list = [];
  const titles = { relaxed: 'relaxed SIMD', 'relaxed-threads': 'relaxed SIMD and threads', simd: 'simd128' };
  for (const [build, title] of Object.entries(titles)) {
    list.push({ name: `BitMar, ${title}`, wasm: await gzip([wasmOf(build)]), js: await gzip(await scripts(root, build)) });
  }
  for (const [name, { wasm, js }] of Object.entries(packages)) list.push({ name, wasm: await gzip(wasm), js: await gzip(js) });
  return list;
}
