// What a page downloads of each runtime before any model, in gzip bytes: one WebAssembly file and the scripts that it loads.
import { readdir, readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

const PACKAGES = 'bench/peers/node_modules/';

/** [{ name, wasm, js }] */
export async function sizes(root) {
  const gzip = async (files) => {
    const contents = await Promise.all(files.map((file) => readFile(new URL(file, root))));
    return contents.reduce((sum, content) => sum + gzipSync(content, { level: 9 }).length, 0);
  };
  // Every module of ours that a browser may load, unminified, with the loader of one build; idb comes with it.
  const dist = 'web/bitmar/dist/';
  const forNode = /node|cli|store-file/;
  const modules = (await readdir(new URL(dist, root))).filter((name) => name.endsWith('.js') && !forNode.test(name));
  const ours = (build) => ({
    wasm: [`${dist}wasm/bitmar-${build}.wasm`],
    js: [...modules.map((name) => dist + name), `${dist}wasm/bitmar-${build}.mjs`, 'node_modules/idb/build/index.js'],
  });
  const ort = `${PACKAGES}onnxruntime-web/dist/`;
  const wllama = `${PACKAGES}@wllama/wllama/esm/`;
  const tfjs = `${PACKAGES}@tensorflow/`;
  const packages = {
    'BitMar, relaxed SIMD': ours('relaxed'),
    'BitMar, simd128': ours('simd'),
    'onnxruntime-web': { wasm: [`${ort}ort-wasm-simd-threaded.wasm`], js: [`${ort}ort.wasm.min.mjs`, `${ort}ort-wasm-simd-threaded.mjs`] },
    wllama: { wasm: [`${wllama}wasm/wllama.wasm`], js: [`${wllama}index.min.js`] },
    'tfjs-wasm': {
      wasm: [`${tfjs}tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-simd.wasm`],
      js: [`${tfjs}tfjs-core/dist/tf-core.min.js`, `${tfjs}tfjs-backend-wasm/dist/tf-backend-wasm.min.js`],
    },
  };
  const list = [];
  for (const [name, { wasm, js }] of Object.entries(packages)) list.push({ name, wasm: await gzip(wasm), js: await gzip(js) });
  return list;
}
