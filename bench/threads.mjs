// A picture with one thread and with two, in Chromium: with nothing else to do, and while another process computes without end.
// Ours run in turn, and each picture is another than the last.
// usage: npm run build && node bench/threads.mjs [ROUNDS] [--json FILE]
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { serve } from '../scripts/serve.mjs';
import { launch, path, SAMPLES } from '../tests/browser/helpers.mjs';
import { percentile } from './frames.mjs';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'string' } } });
const rounds = Number(positionals[0] ?? 15);
const THREADS = [1, 2];
const LOADS = ['nothing else', 'one busy process', 'two busy processes']; // as many as its place says

const server = await serve({ root: path('') });
const browser = await launch();
const pages = [];
for (const threads of THREADS) {
  const page = await browser.page();
  await page.goto(`${server.url}tests/browser/blank.html`);
  const got = await page.evaluate(
    async ({ threads, samples }) => {
      const { BitMar } = await import('bitmar');
      const model = await BitMar.load('/models/default/', { threads });
      const photos = await Promise.all(
        samples.map(async (name) => createImageBitmap(await (await fetch(`/web/demo/public/samples/${name}.jpg`)).blob())),
      );
      globalThis.measure = async () => {
        const rows = [];
        for (let i = 0; i < 3 * photos.length; i += 1) {
          const { timings } = await model.caption(photos[i % photos.length]);
          rows.push([timings.visionMs, timings.totalMs]);
        }
        return rows;
      };
      return model.info.threads;
    },
    { threads, samples: SAMPLES },
  );
  if (got !== threads) throw new Error(`${threads} threads were asked for, and there are ${got}`);
  await page.evaluate(() => measure());
  pages.push(page);
}

/** A process that keeps one core busy. */
function busy() {
  const process_ = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  return () => process_.kill('SIGKILL');
}

const results = [];
for (const [count, load] of LOADS.entries()) {
  const others = Array.from({ length: count }, busy);
  await new Promise((done) => setTimeout(done, 500));
  const rows = THREADS.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [i, page] of pages.entries()) {
      await page.bringToFront();
      rows[i].push(...(await page.evaluate(() => measure())));
    }
  }
  others.forEach((stop) => stop());
  for (const [i, threads] of THREADS.entries()) {
    const [vision, call] = [0, 1].map((column) => rows[i].map((row) => row[column]));
    const figures = [vision, call].map((ms) => ({ p50: percentile(ms, 0.5), p95: percentile(ms, 0.95) }));
    results.push({ load, threads, vision: figures[0], call: figures[1], count: vision.length });
    const text = figures.map(({ p50, p95 }) => `${p50.toFixed(1)} / ${p95.toFixed(1)}`);
    console.log(`${load}, ${threads} thread${threads > 1 ? 's' : ''}: vision ${text[0]}, whole call ${text[1]} ms (p50 / p95 of ${vision.length})`);
  }
}
await browser.close();
await server.close();
if (values.json) await writeFile(values.json, `${JSON.stringify(results, null, 1)}\n`);
