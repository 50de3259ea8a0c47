// The five lines of the README, built by bundlers as they are without a configuration, and run in Chromium. By default the newest Vite and
// webpack; with BITMAR_BUNDLERS=all (npm test -- bundlers) every bundler of tests/bundlers.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { project, PROJECT } from '../bundlers/project.mjs';
import { complaints, disposeNodeModel, host, launch, nodeCaption, serve } from './helpers.mjs';

const ALL = process.env.BITMAR_BUNDLERS === 'all';
const run = promisify(execFile);
const CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src data:";
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

const SIDE = 40;
const PIXELS = Array.from({ length: SIDE * SIDE * 3 }, (_, i) => (i * 7) % 251);
const MAIN = `
  import { BitMar } from 'bitmar';
  const model = await BitMar.load();
  const { text, tokens } = await model.caption({ data: new Uint8Array(${JSON.stringify(PIXELS)}), width: ${SIDE}, height: ${SIDE} });
  const { build, threads, worker } = model.info;
  return { text, tokens, info: \`\${build} \${threads} \${worker}\` };
`;
/** As a page's script: what came of it is in globalThis.outcome. */
const SCRIPT = `${MAIN.match(/import.*;/)[0]}
  globalThis.outcome = (async () => {${MAIN.replace(/import.*;/, '')}})().catch((error) => ({ failed: String(error.code) + ': ' + error.message }));
`;
const HTML = (script, type = 'module') =>
  `<!doctype html><html lang="en"><head><title>Built</title><link rel="icon" href="data:," /><script type="${type}" src="${script}" defer></script></head><body></body></html>`;

let browser, expected;
let load; // a package of the project
before(async () => {
  await project(ALL);
  await writeFile(join(PROJECT, 'load.mjs'), 'export const load = (name) => import(name);');
  ({ load } = await import(pathToFileURL(join(PROJECT, 'load.mjs'))));
  browser = await launch();
  expected = await nodeCaption({ base64: Buffer.from(PIXELS).toString('base64'), width: SIDE, height: SIDE });
  assert.ok(expected.text);
});
after(async () => {
  disposeNodeModel();
  await browser.close();
});

/** A folder of the project with the page's source and nothing else. */
async function app(name, files = {}) {
  const folder = join(PROJECT, 'apps', name);
  await rm(folder, { recursive: true, force: true });
  for (const [file, text] of Object.entries({ 'package.json': '{"type": "module"}', 'src/main.js': SCRIPT, ...files })) {
    await mkdir(join(folder, file, '..'), { recursive: true });
    await writeFile(join(folder, file), text);
  }
  await symlink(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

async function outcome(url) {
  const page = await browser.page();
  const said = complaints(page, new URL(url).origin);
  await page.goto(url);
  const result = await page.waitForFunction(() => globalThis.outcome, undefined, { timeout: 60_000 }).then((handle) => handle.jsonValue(), (error) => ({ failed: error.message }));
  const { isolated, cores } = await page.evaluate(() => ({ isolated: crossOriginIsolated, cores: navigator.hardwareConcurrency }));
  await page.close();
  return { ...result, isolated, cores, said };
}

function check({ text, tokens, info, failed, isolated, cores, said }, isIsolated) {
  assert.equal(failed, undefined, said.join('\n'));
  assert.deepEqual({ text, tokens }, expected);
  assert.equal(isolated, isIsolated);
  assert.equal(info, isIsolated && cores > 1 ? 'relaxed-threads 2 true' : 'relaxed 1 true');
  assert.deepEqual(said, []);
}

/** Runs what was built: on an isolated page under the documented policy, and on one of a plain static host. */
async function runBuilt(folder, csp = CSP) {
  const files = await serve({ root: folder });
  for (const headers of [{ ...ISOLATED, ...(csp ? { 'content-security-policy': csp } : {}) }, {}]) {
    const site = await host(files.url, '/', headers);
    check(await outcome(site.url), 'cross-origin-opener-policy' in headers);
    await site.close();
  }
  await files.close();
}

function viteTests(name, label) {
  test(`${label}: build`, async () => {
    const { build } = await load(name);
    const root = await app(name, { 'index.html': HTML('/src/main.js') });
    await build({ root, configFile: false, logLevel: 'error' });
    await runBuilt(join(root, 'dist'));
  });

  test(`${label}: dev server`, async () => {
    const { createServer } = await load(name);
    const root = await app(`${name}-dev`, { 'index.html': HTML('/src/main.js') });
    const server = await createServer({ root, configFile: false, logLevel: 'error', server: { port: 0, host: '127.0.0.1' } });
    await server.listen();
    try {
      check(await outcome(`http://127.0.0.1:${server.httpServer.address().port}/`), false);
    } finally {
      await server.close();
    }
  });
}

/** Where its dev server puts the packages' scripts elsewhere than usual, with the README's line. */
function viteElsewhereTest(name, label) {
  test(`${label}: dev server with another cacheDir`, async () => {
    const { createServer } = await load(name);
    const [line] = /optimizeDeps: \{ exclude: \[.*?\] \}/.exec(await readFile(join(PROJECT, 'node_modules/bitmar/README.md'), 'utf8'));
    const root = await app(`${name}-elsewhere`, { 'index.html': HTML('/src/main.js'), 'vite.config.js': `export default { cacheDir: '.elsewhere', ${line} };` });
    const server = await createServer({ root, logLevel: 'error', server: { port: 0, host: '127.0.0.1' } });
    await server.listen();
    try {
      check(await outcome(`http://127.0.0.1:${server.httpServer.address().port}/`), false);
    } finally {
      await server.close();
    }
  });
}

function webpackTest(mode) {
  test(`webpack 5: ${mode}`, async () => {
    const { default: webpack } = await load('webpack');
    const context = await app(`webpack-${mode}`);
    const output = { path: join(context, 'dist') };
    const stats = await promisify(webpack)({ context, mode, entry: './src/main.js', output });
    assert.equal(stats.hasErrors(), false, stats.toString({ all: false, errors: true }));
    await writeFile(join(output.path, 'index.html'), HTML('main.js'));
    // Its development mode wraps every module in an eval().
    await runBuilt(output.path, mode === 'production' ? CSP : null);
  });
}


/** What the README says to copy for bundlers that leave `new URL(..., import.meta.url)` alone. */
async function copyAssets(root) {
  const [line] = /^ *cp -r node_modules\/bitmar\/.*$/m.exec(await readFile(join(PROJECT, 'node_modules/bitmar/README.md'), 'utf8'));
  await run('bash', ['-c', line], { cwd: root });
  await writeFile(join(root, 'dist/index.html'), HTML('main.js'));
}

function esbuildTest() {
  test('esbuild', async () => {
    const { build } = await load('esbuild');
    const root = await app('esbuild');
    await build({ absWorkingDir: root, entryPoints: ['src/main.js'], bundle: true, format: 'esm', minify: true, outdir: 'dist', logLevel: 'error' });
    await copyAssets(root);
    await runBuilt(join(root, 'dist'));
  });
}

function rollupTest() {
  test('Rollup', async () => {
    const { rollup } = await load('rollup');
    const { default: resolve } = await load('@rollup/plugin-node-resolve');
    const root = await app('rollup');
    const bundle = await rollup({ input: join(root, 'src/main.js'), plugins: [resolve({ browser: true })] });
    await bundle.write({ dir: join(root, 'dist') });
    await copyAssets(root);
    await runBuilt(join(root, 'dist'));
  });
}

function nextTest() {
  test('Next: imported by a page that the server renders first', async () => {
    const root = await app('next', {
      'package.json': '{ "private": true }',
      'app/layout.jsx': 'export default function Layout({ children }) { return <html lang="en"><head><link rel="icon" href="data:," /></head><body>{children}</body></html>; }',
      'app/page.jsx': `'use client';
        import { useEffect } from 'react';
        import { BitMar } from 'bitmar';
        export default function Page() {
          useEffect(() => {
            (async () => {${MAIN.replace(/import.*;/, '')}})().catch((error) => ({ failed: String(error.code) + ': ' + error.message })).then((outcome) => (globalThis.outcome = outcome));
          }, []);
          return <p>{typeof BitMar.load}</p>;
        }`,
      'next.config.mjs': `export default { turbopack: { root: ${JSON.stringify(PROJECT)} } };`, // the project's packages are not in the page's own folder
    });
    const next = join(PROJECT, 'node_modules/next/dist/bin/next');
    const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' };
    await run(process.execPath, [next, 'build', root], { env, cwd: root }).catch((error) => assert.fail(error.stdout + error.stderr));
    const server = spawn(process.execPath, [next, 'start', root, '--port', '0', '--hostname', '127.0.0.1'], { env, cwd: root });
    try {
      const url = await new Promise((resolve, reject) => {
        let said = '';
        const hear = (text) => {
          const [address] = /http:\/\/127\.0\.0\.1:\d+/.exec((said += text)) ?? [];
          if (address && /Ready/.test(said)) resolve(`${address}/`);
        };
        server.stdout.setEncoding('utf8').on('data', hear);
        server.stderr.setEncoding('utf8').on('data', hear);
        server.on('exit', () => reject(new Error(said)));
      });
      assert.match(await (await fetch(url)).text(), /<p>function<\/p>/);
      check(await outcome(url), false);
      const isolated = await host(url, '/', ISOLATED);
      check(await outcome(isolated.url), true);
      await isolated.close();
    } finally {
      server.kill();
    }
  });
}

viteTests('vite', 'Vite 8');
webpackTest('production');
if (ALL) {
  for (const major of [5, 6, 7]) viteTests(`vite${major}`, `Vite ${major}`);
  viteElsewhereTest('vite7', 'Vite 7');
  webpackTest('development');
  esbuildTest();
  rollupTest();
  nextTest();
}
