// What a page downloads of each runtime before any model, in gzip bytes: one WebAssembly file and the scripts that it loads,
// minified as the peers' packages come, and ours as Vite bundles it.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build as viteBuild } from 'vite';

const PACKAGES = 'bench/peers/node_modules/';
const size = (content) => gzipSync(content, { level: 9 }).length;

/** The scripts of our package's bundle that a page loads which computes in a worker: [{ name, bytes }]. */
async function bundle(input) {
  const { output } = await viteBuild({
    root: fileURLToPath(new URL('.', import.meta.url)),
    configFile: false,
    logLevel: 'silent',
    worker: { format: 'es' },
    build: { write: false, assetsInlineLimit: 0, modulePreload: false, rollupOptions: { input, preserveEntrySignatures: 'strict' } },
  });
  // The engine in the page's own thread: `host` and a second copy of its loader, which are no assets of the worker.
  const unused = ({ type, fileName }) =>
    /__vite-browser-external/.test(fileName) || (type === 'chunk' && /\/(host|bitmar)-/.test(fileName));
  return output
    .filter((file) => file.fileName.endsWith('.js') && !unused(file))
    .map(({ fileName, code, source }) => ({ name: fileName, bytes: size(code ?? source) }));
}

/** [{ name, wasm, js }] */
export async function sizes(root) {
  const gzip = async (files) => {
    const contents = await Promise.all(files.map((file) => readFile(new URL(file, root))));
    return contents.reduce((sum, content) => sum + size(content), 0);
  };
  const wasmOf = (build) => `web/bitmar/dist/wasm/bitmar-${build}.wasm`;
  const modules = await bundle(fileURLToPath(new URL('web/bitmar/dist/index.js', root)));
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
    const js = modules.filter(({ name }) => !/bitmar-/.test(name) || /bitmar-(simd|relaxed-threads|relaxed)-/.exec(name)[1] === build);
    list.push({ name: `BitMar, ${title}`, wasm: await gzip([wasmOf(build)]), js: js.reduce((sum, { bytes }) => sum + bytes, 0) });
  }
  for (const [name, { wasm, js }] of Object.entries(packages)) list.push({ name, wasm: await gzip(wasm), js: await gzip(js) });
  return list;
}
