// Who has the sources that wasm/prebuilt was built from needs no compiler; who has others does. And no package is packed that is not built.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { path } from './helpers.mjs';

const run = (program, args, options) =>
  new Promise((resolve) => execFile(program, args, options, (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stdout, stderr })));

/** The scripts and a few files of a repository, in which whoever wants a compiler is told that there is none. */
async function repository(t) {
  const root = await mkdtemp(join(tmpdir(), 'bitmar-prebuilt-'));
  t.after(() => rm(root, { recursive: true }));
  for (const name of ['scripts/lib.sh', 'scripts/build.sh', 'scripts/toolchain.txt', 'CMakeLists.txt', 'CMakePresets.json', 'include', 'wasm/bindings.cpp', 'src/io', 'src/cli']) {
    await cp(path(name), join(root, name), { recursive: true });
  }
  await mkdir(join(root, 'wasm/prebuilt'));
  await writeFile(join(root, 'scripts/setup.sh'), '#!/bin/sh\necho "error: no compiler" >&2\nexit 9\n', { mode: 0o755 });
  for (const name of ['simd.mjs', 'simd.wasm', 'photos.mjs']) await writeFile(join(root, `wasm/prebuilt/bitmar-${name}`), name);
  const { stdout } = await run('bash', ['-c', '. scripts/lib.sh && wasm_sources | tee wasm/prebuilt/sources.sha256'], { cwd: root });
  assert.match(stdout, /^[0-9a-f]{64}\n$/);
  const build = (env = {}) => run('bash', ['scripts/build.sh', 'wasm'], { cwd: root, env: { ...process.env, ...env } });
  return { root, build };
}

test('with the sources that it was built from it is taken, and nothing is installed', async (t) => {
  const { root, build } = await repository(t);
  assert.deepEqual(await build(), { status: 0, stdout: '', stderr: '' });
  assert.deepEqual((await readdir(join(root, 'wasm/dist'))).sort(), ['bitmar-photos.mjs', 'bitmar-simd.mjs', 'bitmar-simd.wasm']);
  await writeFile(join(root, 'wasm/dist/bitmar-simd.wasm'), 'of other sources');
  await build();
  assert.equal(await readFile(join(root, 'wasm/dist/bitmar-simd.wasm'), 'utf8'), 'simd.wasm');
  // What is no part of it changes nothing.
  await writeFile(join(root, 'src/cli/main.cpp'), '// another command line');
  await writeFile(join(root, 'src/io/notes.md'), 'notes');
  assert.equal((await build()).status, 0);
});

for (const [what, file] of [['another source', 'src/io/error.h'], ['a further source', 'wasm/further.cpp'], ['another toolchain', 'scripts/toolchain.txt'], ['other flags', 'CMakeLists.txt']]) {
  test(`${what}: it is built`, async (t) => {
    const { root, build } = await repository(t);
    await writeFile(join(root, file), '// changed');
    const { status, stderr } = await build();
    assert.equal(status, 9);
    assert.match(stderr, /no compiler/);
  });
}

test('it is built where that is asked for', async (t) => {
  const { build } = await repository(t);
  assert.equal((await build({ BITMAR_FROM_SOURCE: '1' })).status, 9);
});

test('what cannot be built cannot be packed, and says why', async (t) => {
  const { root } = await repository(t);
  await writeFile(join(root, 'src/io/error.h'), '// changed');
  for (const name of ['bitmar', 'bitmar-model']) {
    await mkdir(join(root, 'web', name), { recursive: true });
    await cp(path(`web/${name}/package.json`), join(root, 'web', name, 'package.json'));
    const { status, stderr } = await run('npm', ['pack'], { cwd: join(root, 'web', name) });
    assert.notEqual(status, 0);
    assert.match(stderr, /no compiler/);
    assert.deepEqual(await readdir(join(root, 'web', name)), ['package.json']);
  }
});
