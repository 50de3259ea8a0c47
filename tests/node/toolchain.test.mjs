// scripts/toolchain.sh says when the engine is built by something else than what was recorded.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { path } from './helpers.mjs';

const run = promisify(execFile);

/** Another toolchain: programs that do nothing but say their version, and libraries of a few bytes. */
async function toolchain(folder) {
  const program = (name, text) => writeFile(join(folder, name), `#!/bin/sh\necho "${text}"\n`, { mode: 0o755 });
  for (const part of ['bin', 'cache/sysroot/lib/wasm32-emscripten']) await mkdir(join(folder, part), { recursive: true });
  await program('emcc', 'emcc (Emscripten) 9.8.7 ()');
  await program('em-config', folder);
  await program('clang', 'clang version 6.5.4');
  await program('wasm-ld', 'LLD 6.5.4');
  await program('bin/wasm-opt', 'wasm-opt version 321');
  await writeFile(join(folder, 'cache/sysroot/lib/wasm32-emscripten/libc.a'), 'library');
}

test('another toolchain is named, each time; the recorded one is not', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'bitmar-toolchain-'));
  t.after(() => rm(root, { recursive: true }));
  const [scripts, folder] = [join(root, 'scripts'), join(root, 'other')];
  await mkdir(scripts);
  for (const name of ['lib.sh', 'toolchain.sh', 'toolchain.txt']) await copyFile(path(`scripts/${name}`), join(scripts, name));
  await toolchain(folder);
  const check = async (...flags) => (await run(join(scripts, 'toolchain.sh'), [folder, ...flags])).stderr;

  const recorded = await readFile(join(scripts, 'toolchain.txt'), 'utf8');
  const version = (name) => new RegExp(`^${name} (\\S+) [0-9a-f]{64}$`, 'm').exec(recorded)[1];
  for (const time of ['first', 'second']) {
    const said = await check();
    for (const [name, other] of [['emscripten', '9.8.7'], ['clang', '6.5.4'], ['lld', '6.5.4'], ['binaryen', '321']]) {
      assert.ok(said.includes(`  ${name} ${other} instead of ${version(name)}\n`), `${time}: ${said}`);
    }
    assert.match(said, /It builds the engine/);
  }

  await check('--record');
  assert.equal(await check(), '');
  await writeFile(join(folder, 'cache/sysroot/lib/wasm32-emscripten/libc.a'), 'libraries');
  await rm(join(root, 'build'), { recursive: true });
  const said = await check();
  assert.match(said, /emscripten-libraries - of other bytes than those recorded/);
  assert.doesNotMatch(said, /clang/);
});
