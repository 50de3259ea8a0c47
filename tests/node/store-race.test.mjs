// Processes that want the same folder at the same moment, again and again, each time just when its holder is killed: one gets it, and what
// any of them was told is on the disk stays there. BITMAR_ROUNDS says how often (default 5; 200 take minutes).
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { code, path } from './helpers.mjs';

const ROUNDS = Number(process.env.BITMAR_ROUNDS ?? 5);
const CONTENDER = path('tests/node/fixtures/contender.mjs');
const { FileStore } = await import(path('web/bitmar/dist/store/file.js'));

/** A folder whose path is too long for a socket's, and another name for it. */
async function places() {
  const base = await mkdtemp(join(tmpdir(), 'bitmar-race-'));
  const folder = join(base, 'a-memory-'.repeat(14));
  await mkdir(folder);
  await symlink(folder, join(base, 'alias'), 'dir');
  return { base, paths: [folder, join(base, 'alias'), join(base, '.', 'alias', '.')] };
}

describe('processes that want the same folder', () => {
  for (const count of [2, 4]) {
    test(`${count} of them, ${ROUNDS} times: one has it, and nothing that was acknowledged is lost`, async () => {
      const { base, paths } = await places();
      const contenders = [];
      const acknowledged = new Set();
      let forked = 0;
      async function contender() {
        const number = (forked += 1);
        const temporary = join(base, `tmp-${number % count}`); // as in another container
        await mkdir(temporary, { recursive: true });
        const child = fork(CONTENDER, [paths[number % paths.length]], { env: { ...process.env, TMPDIR: temporary } });
        await once(child, 'message');
        return child;
      }
      try {
        let holder = await contender();
        holder.send('go');
        for (const id of (await once(holder, 'message'))[0].acknowledged) acknowledged.add(id);
        for (let round = 0; round < ROUNDS; round += 1) {
          while (contenders.length < count) contenders.push(await contender());
          const answers = contenders.map((child) => once(child, 'message'));
          const dead = once(holder, 'exit');
          for (const child of contenders) child.send('go');
          holder.kill('SIGKILL');
          await dead;
          const results = (await Promise.all(answers)).map(([result]) => result);
          const winners = results.filter((result) => result.acknowledged);
          assert.equal(winners.length, 1, `round ${round}: ${JSON.stringify(results.map(({ code }) => code ?? 'has it'))}`);
          const [{ found }] = winners;
          for (const id of acknowledged) assert.ok(found.includes(id), `round ${round}: ${id} was acknowledged and is lost`);
          for (const id of winners[0].acknowledged) acknowledged.add(id);
          for (const { code } of results) assert.ok(code === undefined || code === 'storage_blocked', code);
          [holder] = contenders.splice(results.indexOf(winners[0]), 1);
        }
        const dead = once(holder, 'exit');
        holder.kill('SIGKILL');
        await dead;
        const store = new FileStore(paths[0]);
        const { captions, damaged } = await store.load();
        store.close();
        assert.deepEqual([...captions.keys()].sort((a, b) => a - b), [...acknowledged].sort((a, b) => a - b));
        assert.equal(damaged, 0);
        assert.equal(acknowledged.size, 3 * (ROUNDS + 1));
      } finally {
        for (const child of contenders) child.kill('SIGKILL');
        await rm(base, { recursive: true, maxRetries: 3 });
      }
    });
  }

  test('a name for it that is another one’s, and a lock that somebody deleted', async () => {
    const { base, paths } = await places();
    const store = new FileStore(paths[0]);
    await store.load();
    assert.equal(store.exclusive, true);
    for (const name of paths) await assert.rejects(new FileStore(name).load(), code('storage_blocked'));
    await store.replace(Uint8Array.of(1), 1, { cleared: false, removed: [], evicted: [], captions: new Map(), thumbnails: new Map() });
    await rm(join(paths[0], 'lock'));
    const other = new FileStore(paths[1]);
    await other.load();
    // Whoever lost the lock writes no more.
    const nothing = { cleared: false, removed: [], evicted: [], captions: new Map(), thumbnails: new Map() };
    assert.equal(await store.append(Uint8Array.of(2), 2, nothing), false);
    await assert.rejects(store.replace(Uint8Array.of(2), 2, nothing), code('storage_blocked'));
    assert.equal(await other.append(Uint8Array.of(3), 3, nothing), true);
    for (const each of [store, other]) each.close();
    await rm(base, { recursive: true });
  });

  test('without the library that can lock, it keeps everything and promises nothing', async () => {
    const base = await mkdtemp(join(tmpdir(), 'bitmar-alone-'));
    await cp(path('web/bitmar/dist'), join(base, 'dist'), { recursive: true, filter: (name) => !name.endsWith('wasm') });
    await cp(path('web/bitmar/package.json'), join(base, 'package.json'));
    const { FileStore: Alone } = await import(join(base, 'dist/store/file.js'));
    const store = new Alone(join(base, 'memory'));
    await store.load();
    assert.equal(store.exclusive, false);
    await store.replace(Uint8Array.of(1), 1, { cleared: false, removed: [], evicted: [], captions: new Map(), thumbnails: new Map() });
    store.close();
    assert.deepEqual([...(await new Alone(join(base, 'memory')).load()).snapshot], [1]);
    await rm(base, { recursive: true });
  });
});
