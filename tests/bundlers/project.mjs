// A project that has installed the two packages as they are published, and the bundlers of the lockfile beside this file. Vite is held at 8.3:
// 8.4.0 names an optional package that the registry does not have, and npm ci refuses that.
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const path = (relative) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
export const PROJECT = path('build/bundlers');
const NPM_FLAGS = ['--no-audit', '--no-fund', '--loglevel=error'];

/** The tarballs of what is built: { bitmar, model }. */
export async function packed() {
  const folder = path('build/packages');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const pack = async (name) => {
    const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], { cwd: path(`web/${name}`) });
    return join(folder, stdout.trim().split('\n').at(-1));
  };
  return { bitmar: await pack('bitmar'), model: await pack('bitmar-model') };
}

/** Its folder; `all`: with the bundlers of the full run. */
export async function project(all) {
  await mkdir(PROJECT, { recursive: true });
  const stamp = join(PROJECT, 'installed');
  const state = `${all ? 'all' : 'newest'} ${await readFile(path('tests/bundlers/package-lock.json'), 'utf8')}`;
  const installed = await readFile(stamp, 'utf8').catch(() => '');
  if (installed !== state && installed !== state.replace('newest', 'all')) {
    for (const name of ['package.json', 'package-lock.json']) await copyFile(path(`tests/bundlers/${name}`), join(PROJECT, name));
    await run('npm', ['ci', ...NPM_FLAGS, ...(all ? [] : ['--omit=dev'])], { cwd: PROJECT });
    await writeFile(stamp, state);
  }
  const tarballs = await packed();
  for (const [name, tarball] of [['bitmar', tarballs.bitmar], ['bitmar-model', tarballs.model]]) {
    const folder = join(PROJECT, 'node_modules', name);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder);
    await run('tar', ['-xzf', tarball, '-C', folder, '--strip-components=1']);
  }
  return PROJECT;
}
