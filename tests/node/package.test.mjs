// What a user of the package gets: its types under strict settings, and its contents.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

import { path } from './helpers.mjs';

const run = promisify(execFile);

const USE = `
  import { BitMar, BitMarError, type Caption, type ErrorCode, type MemoryChangeEvent, type Progress, type Recollection, type Remembered, type Source, type Store } from 'bitmar';
  declare const kept: Map<string, Store>;
  export async function use(bytes: Uint8Array): Promise<string> {
    (await BitMar.load()).dispose();
    (await BitMar.load((await import('bitmar-model')).default)).dispose();
    const model = await BitMar.load('model/', { onProgress: ({ loaded, total }: Progress) => void [loaded, total], signal: undefined, timeout: 5000, fetch, headers: { authorization: 'x' }, cache: true });
    const { text, tokens, timings }: Caption = await model.caption({ data: bytes, width: 2, height: 2 }, { maxTokens: 5 });
    for await (const piece of model.stream({ features: new Float32Array(4) })) console.log(piece.length);
    try {
      // @ts-expect-error a name is not a picture
      await model.caption('photo.jpg');
      // @ts-expect-error no such option
      await model.caption({ data: bytes, width: 2, height: 2 }, { tokens: 5 });
    } catch (error) {
      const code: ErrorCode | undefined = error instanceof BitMarError ? error.code : undefined;
      if (code === 'aborted') return '';
      // @ts-expect-error no such code
      if (code === 'abort') return '';
    }
    const source: Source = new Blob([]);
    await model.caption(source);
    const { memory } = model;
    memory.addEventListener('storage', ({ status }) => console.log(status.durable, status.error?.code));
    memory.addEventListener('change', ({ change, id }: MemoryChangeEvent) => console.log(change, id?.toFixed()), { once: true });
    const { matches, recognised }: Recollection = await memory.recall({ image: source, text: 'a dog', k: 3 });
    const { id, caption }: Remembered = await memory.write(source, { thumbnail: true, label: recognised?.label });
    if (await memory.forget(id)) await memory.flush();
    const file: Blob = await memory.export();
    await memory.import(file, { shrink: true });
    for (const earlier of await memory.earlier()) if (earlier.pictured < earlier.episodes) await memory.import(await earlier.export());
    for (const { caption } of [...matches, ...(await memory.list({ limit: 3 })).episodes]) console.log(caption?.length);
    // @ts-expect-error ids are numbers
    await memory.forget(caption.text);
    const store = (hash: string): Store => kept.get(hash)!;
    await BitMar.load('model/', { memory: { slots: 64, store } });
    for await (const { source: each, caption, error } of model.captionAll([new Blob([]), bytes, bytes.buffer as ArrayBuffer, new URL('https://x/'), new Response()])) console.log(each, caption?.text ?? error?.code);
    const vector: Float32Array = await model.embed({ image: source, text: 'a dog' });
    // @ts-expect-error a string is neither a picture nor a text here
    await model.embed('a dog');
    model[Symbol.dispose]();
    return vector.length + text + tokens.length + timings.visionMs + model.info.kernels;
  }
`;
const USE_IN_PAGE = `
  import type { BitMar, WatchState } from 'bitmar';
  export function page(model: BitMar, video: HTMLVideoElement, bitmap: ImageBitmap, image: HTMLImageElement, frame: VideoFrame): void {
    const watch = model.watch(video, { onCaption: ({ text }, frame) => console.log(text, frame?.width), onFrame: (frame: ImageData) => void frame.data });
    watch.pause(), watch.resume(), watch[Symbol.dispose]();
    const state: WatchState = watch.state;
    void (async () => { for await (const { text } of model.captions(video, { interval: 100, minChange: 0.1, onState: (state) => void state })) console.log(text, state); })();
    for (const source of [video, bitmap, image, frame, new OffscreenCanvas(1, 1), new ImageData(1, 1)]) void model.caption(source);
  }
`;

async function consumer(name, files, options) {
  const folder = path(`node_modules/.cache/bitmar-${name}/`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) await writeFile(`${folder}${file}`, text);
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    verbatimModuleSyntax: true,
    skipLibCheck: false,
    noEmit: true,
    target: 'ES2022',
    ...options,
  };
  await writeFile(`${folder}package.json`, '{"type": "module"}');
  await writeFile(`${folder}tsconfig.json`, JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  await run(process.execPath, [path('node_modules/typescript/bin/tsc'), '-p', folder]).catch((error) => assert.fail(error.stdout));
}

test('types: a page, with a bundler', () =>
  consumer('page', { 'use.ts': USE, 'page.ts': USE_IN_PAGE }, { module: 'ESNext', moduleResolution: 'Bundler', lib: ['ES2022', 'DOM'], types: [] }));

test('types: node, without the DOM', () =>
  consumer('node', { 'use.ts': USE }, { module: 'NodeNext', moduleResolution: 'NodeNext', lib: ['ES2022'], types: ['node'] }));

test('publint has nothing to say', async () => {
  const { publint } = await import('publint');
  for (const name of ['bitmar', 'bitmar-model']) {
    const { messages } = await publint({ pkgDir: path(`web/${name}`), strict: true });
    assert.deepEqual(messages, [], name);
  }
});

const json = async (name) => JSON.parse(await readFile(path(name), 'utf8'));

test('one version: of the packages, the lockfile, CMake and the model that is asked for', async () => {
  const [bitmar, model, { packages }] = await Promise.all(['web/bitmar/package.json', 'web/bitmar-model/package.json', 'package-lock.json'].map(json));
  assert.match(bitmar.version, /^\d+\.\d+\.\d+/);
  const versions = [model.version, bitmar.dependencies['bitmar-model'], packages['web/bitmar'].version, packages['web/bitmar-model'].version];
  for (const version of versions) assert.equal(version, bitmar.version);
  // CMake reads it from the package; the command lines say it (cli.test.mjs).
  assert.match(await readFile(path('CMakeLists.txt'), 'utf8'), /file\(READ \S+\/web\/bitmar\/package\.json package\).*project\(bitmar VERSION \$\{version\}/s);
});

/** What is packed: { files, unpackedSize }. */
async function packed(name) {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--ignore-scripts', '--json', '--silent'], { cwd: path(`web/${name}`) });
  const [{ files, unpackedSize }] = JSON.parse(stdout);
  return { files: files.map((file) => file.path), unpackedSize };
}

test('the packages hold what they need and nothing else', async () => {
  const { files } = await packed('bitmar');
  for (const file of ['index.js', 'index.d.ts', 'index-node.js', 'worker.js', 'worker-threads.js', 'worker-node.js', 'service-worker.js', 'cli.js', 'idb.LICENSE']) {
    assert.ok(files.includes(`dist/${file}`), file);
  }
  for (const build of ['simd', 'relaxed', 'relaxed-threads']) assert.ok(files.includes(`dist/wasm/bitmar-${build}.wasm`));
  for (const file of files) assert.match(file, /^(dist\/.+\.(js|d\.ts|mjs|wasm)|dist\/idb\.LICENSE|LICENSE|README\.md|package\.json)$/);
  // Whatever one of them imports is among them, or among the dependencies.
  const { dependencies, optionalDependencies } = await json('web/bitmar/package.json');
  let imports = 0;
  for (const file of files.filter((name) => /\.(m?js|d\.ts)$/.test(name))) {
    const text = await readFile(path(`web/bitmar/${file}`), 'utf8');
    for (const [, name] of text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*(?:\/\*.*?\*\/\s*)*)["']([\w./:-]+)["']/g)) {
      imports += 1;
      if (name.startsWith('.')) {
        const target = join(dirname(file), name);
        assert.ok(files.includes(target) || files.includes(target.replace(/\.(m?)js$/, '.d.$1ts')), `${file}: ${name}`);
      } else {
        assert.ok(name.startsWith('node:') || name in { ...dependencies, ...optionalDependencies, module: 1 }, `${file}: ${name}`);
      }
    }
  }
  assert.ok(imports > 20, `${imports} imports`);
  assert.deepEqual((await packed('bitmar-model')).files.sort(), [
    'LICENSE', 'README.md', 'index.d.ts', 'index.js',
    ...['checksums.js', 'config.json', 'manifest.json', 'model.safetensors', 'preprocessor_config.json', 'tokenizer.json'].map((name) => `model/${name}`),
    'package.json',
  ]);
  for (const name of ['config.json', 'model.safetensors', 'preprocessor_config.json', 'tokenizer.json']) {
    assert.ok((await readFile(path(`web/bitmar-model/model/${name}`))).equals(await readFile(path(`models/default/${name}`))), name);
  }
  // Its checksums are those of these files, for who imports it and for who knows its folder.
  const { default: model } = await import('bitmar-model');
  const { files: byFile } = await json('web/bitmar-model/model/manifest.json');
  for (const [part, name] of [['config', 'config.json'], ['tokenizer', 'tokenizer.json'], ['preprocessor', 'preprocessor_config.json'], ['weights', 'model.safetensors']]) {
    const sum = createHash('sha256').update(await readFile(path(`models/default/${name}`))).digest('hex');
    assert.deepEqual([model.sha256[part], byFile[name]], [sum, sum], name);
  }
});

test('budgets: what a page downloads beside the model, what is installed, how much else is', async (t) => {
  const dist = path('web/bitmar/dist/');
  const scripts = new Set();
  const need = async (name) => {
    if (scripts.has(name)) return;
    scripts.add(name);
    for (const [, other] of (await readFile(dist + name, 'utf8')).matchAll(/from"\.\/(.+?)"/g)) await need(other);
  };
  await need('index.js');
  const gzip = async (name) => gzipSync(await readFile(dist + name), { level: 9 }).length;
  for (const build of ['simd', 'relaxed', 'relaxed-threads']) {
    const sizes = await Promise.all([...scripts, build === 'relaxed-threads' ? 'worker-threads.js' : 'worker.js', `wasm/bitmar-${build}.wasm`].map(gzip));
    const all = sizes.reduce((a, b) => a + b);
    t.diagnostic(`${build}: ${all} bytes of scripts and WebAssembly, gzip`);
    // That with threads is for pages that are isolated, which they do to get it.
    assert.ok(all <= (build === 'relaxed-threads' ? 165_000 : 160_000), `${build}: ${all}`);
  }
  const { unpackedSize } = await packed('bitmar');
  t.diagnostic(`${unpackedSize} bytes installed`);
  assert.ok(unpackedSize <= 1_500_000, String(unpackedSize));
  const { dependencies } = await json('web/bitmar/package.json');
  assert.ok(Object.keys(dependencies).filter((name) => name !== 'bitmar-model').length <= 2);
});

test('no eval, no addresses of other hosts in what is shipped; one place that makes a blob: address', async () => {
  const folder = path('web/bitmar/dist/');
  const blobs = [];
  for (const file of (await readdir(folder, { recursive: true })).sort()) {
    if (!/\.m?js$/.test(file)) continue;
    const text = await readFile(folder + file, 'utf8');
    assert.doesNotMatch(text, /\beval\(|new Function\(/, file);
    for (const _ of text.matchAll(/createObjectURL/g)) blobs.push(file.replace(/^chunk-.*/, 'chunk'));
    for (const [address] of text.matchAll(/https?:\/\/[a-z0-9.-]+/g)) assert.fail(`${file}: ${address}`);
  }
  assert.deepEqual(blobs, ['chunk', 'platform/browser.js']); // the bundle, and what it is made from, which is not packed
});
