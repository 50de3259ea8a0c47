// A webcam is remembered, and the browser's process is killed at random moments: nothing that was acknowledged is lost, and
// what is there always loads. BITMAR_KILLS says how often (default 10, some 8 s each); BITMAR_SEED repeats the moments.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';

import { chromium } from 'playwright-core';
import { randomFrom, SEED } from '../chaos.mjs';
import { film, launch, MODEL, path, QUIET, samplePhotos, serve, webcam } from './helpers.mjs';

const KILLS = Number(process.env.BITMAR_KILLS ?? 10);
const MODEL_URL = `/${relative(path(''), MODEL)}/`;

/** Chromium as a child of this process, so that it can be killed by its id. */
async function spawnChromium(profile, flags) {
  const args = [...QUIET, '--headless', '--remote-debugging-port=0', `--user-data-dir=${profile}`, ...flags, 'about:blank'];
  const child = spawn(process.env.CHROMIUM_PATH ?? '/usr/bin/chromium', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const address = await new Promise((resolve, reject) => {
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      said += text;
      const [, found] = /DevTools listening on (ws:\S+)/.exec(said) ?? [];
      if (found) resolve(found);
    });
    void gone.then(() => reject(new Error(`Chromium did not start:\n${said}`)));
  });
  const browser = await chromium.connectOverCDP(address);
  return {
    page: () => browser.contexts()[0].newPage(),
    async kill() {
      process.kill(child.pid, 'SIGKILL');
      await gone;
    },
    async close() {
      await (await browser.newBrowserCDPSession()).send('Browser.close').catch(() => {});
      await gone;
    },
  };
}

/** A page with the memory open: what it holds, and how it came to be. */
async function openMemory(browser, origin) {
  const page = await browser.page();
  await page.goto(`${origin}tests/browser/blank.html`);
  const found = await page.evaluate(async (address) => {
    const { BitMar } = await import('bitmar');
    globalThis.model = await BitMar.load(address, { memory: { slots: 8192, autosaveMs: 50 } });
    globalThis.memory = model.memory;
    const { durable, role, error } = await memory.open();
    const { episodes } = await memory.list({ limit: 10_000 });
    const thumbnails = await Promise.all(episodes.map(async ({ id }) => (await memory.thumbnail(id))?.size ?? 0));
    return { durable, role, error: error?.code, episodes: episodes.map((episode, i) => ({ ...episode, thumbnail: thumbnails[i] })) };
  }, MODEL_URL);
  return { page, found };
}

/** On the page: remembers the webcam's frames and names patterns, without end; says of each when it is durable. */
async function remember() {
  const acknowledge = async (id, strength, label) => {
    await memory.flush();
    console.log(JSON.stringify({ id, strength, label }));
  };
  const strengthOf = async (id) => (await memory.list({ limit: 10_000 })).episodes.find((episode) => episode.id === id).strength;
  const failed = (error) => console.log(`failed: ${error.code} ${error.message}`);
  const video = Object.assign(document.createElement('video'), { muted: true });
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  await video.play();
  document.body.append(video);
  model.watch(video, {
    writeMemory: true,
    thumbnail: true,
    onCaption: ({ episode }) => strengthOf(episode.id).then((strength) => acknowledge(episode.id, strength, null)).catch(failed),
    onError: failed,
  });
  (async () => {
    for (;;) {
      const label = `pattern ${Math.random()}`;
      const data = crypto.getRandomValues(new Uint8Array(4 * 32 * 32));
      const { id } = await memory.teach({ data, width: 32, height: 32 }, label, { thumbnail: true });
      await acknowledge(id, 1, label);
    }
  })().catch(failed);
}

test(`killed ${KILLS} times while it remembers a webcam`, async (t) => {
  const random = randomFrom(SEED);
  const server = await serve({ root: path('') });
  const drawing = await launch();
  const file = await film(await drawing.page(), await samplePhotos(), 0.2);
  await drawing.close();

  const profile = await mkdtemp(join(tmpdir(), 'bitmar-killed-'));
  const acknowledged = new Map(); // by id: the strongest that was acknowledged
  let acknowledgements = 0;
  let unacknowledged = 0;
  const delays = [];
  for (let kills = 0; ; kills += 1) {
    const browser = await spawnChromium(profile, webcam(file));
    const { page, found } = await openMemory(browser, server.url);
    const context = `after ${kills} kills (BITMAR_SEED=${SEED}), ${acknowledged.size} acknowledged`;
    assert.deepEqual([found.durable, found.role, found.error], [true, 'writer', undefined], context);
    const episodes = new Map(found.episodes.map((episode) => [episode.id, episode]));
    const lost = [...acknowledged].filter(([id, { strength, label }]) => {
      const episode = episodes.get(id);
      return !episode || episode.strength < strength || episode.thumbnail === 0 || (label !== null && episode.label !== label);
    });
    assert.deepEqual(lost, [], `lost ${context}`);
    unacknowledged = episodes.size - acknowledged.size;
    if (kills === KILLS) {
      await browser.close();
      break;
    }

    const failures = [];
    let begin = () => {};
    const begun = new Promise((resolve) => (begin = resolve));
    page.on('console', (message) => {
      begin();
      if (!message.text().startsWith('{')) return failures.push(message.text());
      const { id, strength, label } = JSON.parse(message.text());
      acknowledgements += 1;
      const known = acknowledged.get(id);
      acknowledged.set(id, { strength: Math.max(strength, known?.strength ?? 0), label: label ?? known?.label ?? null });
    });
    await page.evaluate(`(${remember})()`);
    await begun;
    const delay = 3000 * random() ** 2; // rather early, when the journal is short and snapshots are frequent
    delays.push(delay);
    await new Promise((resolve) => setTimeout(resolve, delay));
    await browser.kill();
    assert.deepEqual(failures, [], context);
  }
  await server.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 3 });
  await rm(file, { force: true });
  assert.ok(acknowledged.size > KILLS, `only ${acknowledged.size} episodes`);
  t.diagnostic(`${KILLS} kills, ${Math.round(Math.min(...delays))} to ${Math.round(Math.max(...delays))} ms after the first acknowledgement; seed ${SEED}`);
  t.diagnostic(`${acknowledgements} acknowledgements of ${acknowledged.size} episodes, 0 lost; ${unacknowledged} more were kept unacknowledged`);
});
