// scripts/release.sh: one number is written wherever it stands, and nothing is tagged that is not ready.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { path } from './helpers.mjs';

test('a release is prepared, and refused while something is missing', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'bitmar-release-'));
  t.after(() => rm(root, { recursive: true }));
  for (const name of ['scripts/lib.sh', 'scripts/release.sh', 'web/bitmar/package.json', 'web/bitmar-model/package.json', 'package-lock.json']) {
    await cp(path(name), join(root, name));
  }
  await writeFile(join(root, 'CHANGELOG.md'), '# Changelog\n\n## Unreleased\n\nNews.\n\n## 0.0.1\n');
  const run = (program, ...args) =>
    new Promise((resolve) => execFile(program, args, { cwd: root }, (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stdout, stderr })));
  const release = (...args) => run('bash', 'scripts/release.sh', ...args);
  const git = (...args) => run('git', '-c', 'user.name=Test', '-c', 'user.email=test@localhost', ...args);
  await git('init', '-q');

  assert.match((await release()).stderr, /not committed/);
  await git('add', '-A');
  await git('commit', '-qm', 'All');
  const early = await release();
  assert.equal(early.status, 1);
  assert.match(early.stderr, /CHANGELOG.md has changes that no version has/);
  for (const word of ['2.3', 'v2.3.4', '']) assert.match((await release('prepare', word)).stderr, /is no version/);

  assert.deepEqual(await release('prepare', '2.3.4'), { status: 0, stdout: '', stderr: '' });
  const json = async (name) => JSON.parse(await readFile(join(root, name), 'utf8'));
  const { packages } = await json('package-lock.json');
  for (const [bitmar, model] of [[await json('web/bitmar/package.json'), await json('web/bitmar-model/package.json')], [packages['web/bitmar'], packages['web/bitmar-model']]]) {
    assert.deepEqual([bitmar.version, bitmar.dependencies['bitmar-model'], model.version], ['2.3.4', '2.3.4', '2.3.4']);
  }
  assert.equal(await readFile(join(root, 'CHANGELOG.md'), 'utf8'), '# Changelog\n\n## 2.3.4\n\nNews.\n\n## 0.0.1\n');
  const { stdout } = await git('diff', '--numstat');
  assert.deepEqual(stdout.match(/\d+(?=\t)/g).filter((_, i) => i % 2 === 0), ['1', '3', '1', '2'], stdout); // lines added: nothing else has changed

  await git('commit', '-qam', '2.3.4');
  await git('tag', 'v2.3.4');
  assert.match((await release()).stderr, /v2\.3\.4 is tagged already/);
});
