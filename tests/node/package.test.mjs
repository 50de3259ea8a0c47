// What a user of the package gets: its types under strict settings, and its contents.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { path } from './helpers.mjs';

const run = promisify(execFile);

const USE = `
  import { BitMar, BitMarError, type Caption, type ErrorCode, type MemoryChangeEvent, type Progress, type Recollection, type Remembered, type Source, type Store } from 'bitmar';
  declare const kept: Map<string, Store>;
  export async function use(bytes: Uint8Array): Promise<string> {
    const model = await BitMar.load('model/', { onProgress: ({ loaded, total }: Progress) => void [loaded, total], signal: undefined });
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
    model.dispose();
    return text + tokens.length + timings.visionMs + model.info.kernels;
  }
`;
const USE_IN_PAGE = `
  import type { BitMar } from 'bitmar';
  export function page(model: BitMar, video: HTMLVideoElement, bitmap: ImageBitmap, image: HTMLImageElement, frame: VideoFrame): void {
    const watch = model.watch(video, { onCaption: ({ text }, frame) => console.log(text, frame?.width), onFrame: (frame: ImageData) => void frame.data });
    watch.stop();
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
  const { messages } = await publint({ pkgDir: path('web/bitmar'), strict: true });
  assert.deepEqual(messages, []);
});

test('the package holds what it needs and nothing else', async () => {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--silent'], { cwd: path('web/bitmar') });
  const files = JSON.parse(stdout)[0].files.map((file) => file.path);
  for (const file of ['dist/index.js', 'dist/index.d.ts', 'dist/index-node.js', 'dist/worker.js', 'dist/worker-node.js', 'dist/cli.js', 'LICENSE', 'README.md']) {
    assert.ok(files.includes(file), file);
  }
  for (const build of ['simd', 'relaxed', 'relaxed-threads']) {
    for (const type of ['mjs', 'wasm']) assert.ok(files.includes(`dist/wasm/bitmar-${build}.${type}`));
  }
  for (const file of files) assert.match(file, /^(dist\/.+\.(js|d\.ts|mjs|wasm)|LICENSE|README\.md|package\.json)$/);
});

test('no eval, no blob workers, no addresses of other hosts in what is shipped', async () => {
  const folder = path('web/bitmar/dist/');
  for (const file of await readdir(folder, { recursive: true })) {
    if (!/\.m?js$/.test(file)) continue;
    const text = await readFile(folder + file, 'utf8');
    assert.doesNotMatch(text, /\beval\(|new Function\(|createObjectURL/, file);
    for (const [address] of text.matchAll(/https?:\/\/[a-z0-9.-]+/g)) assert.fail(`${file}: ${address}`);
  }
});
