// Our engine and its peers on the same shapes, in headless Chromium, interleaved: A B C A B C ...
// usage: npm run bench:peers -- [--rounds N] [--threads 1,2] [--only REGEX] [--json FILE] [--machine WORDS]
//   --threads  how many each may use, one table each; more than one wants idle cores
//   --only     groups whose id matches: decoder-d256-L4, decoder-d512-L6, encoder, start, frames, sizes
//   --json     where the figures go; without it they are only printed
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { serve } from '../../scripts/serve.mjs';
import { launch, path } from '../../tests/browser/helpers.mjs';
import { frames } from '../frames.mjs';
import { sizes } from './sizes.mjs';
import { groups } from './subjects.mjs';

const ROOT = new URL('../../', import.meta.url);

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '1' },
    only: { type: 'string', default: '.' },
    json: { type: 'string' },
    machine: { type: 'string', default: '' },
  },
});
const rounds = Number(options.rounds);
const wanted = (id) => new RegExp(options.only).test(id);

/** The value at a share of the sorted values. */
const at = (values, share) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
const median = (values) => at(values, 0.5);

async function open(browser, url, { module, task, spec }, threads) {
  const page = await browser.page();
  await page.goto(`${url}bench/peers/page/blank.html`);
  await page.evaluate(
    async ([module, task, spec]) => {
      const subjects = await import(`/bench/peers/page/${module}.mjs`);
      globalThis.subject = await subjects[task](spec);
    },
    [module, task, { ...spec, threads }],
  );
  return page;
}

/** One figure of one subject, alone in front: pages behind are slowed down. */
async function figure(page) {
  await page.bringToFront();
  return page.evaluate(() => globalThis.subject.measure());
}

async function measure(group, threads, server) {
  const browser = await launch();
  const entries = group.subjects.map(({ runtime, variant, ours = false, bytes }) => ({ runtime, variant, ours, bytes, values: [] }));
  try {
    const pages = [];
    if (!group.fresh) {
      for (const [i, subject] of group.subjects.entries()) {
        pages.push(await open(browser, server.url, subject, threads));
        entries[i].check = await pages[i].evaluate(() => globalThis.subject.check());
        console.error(`  ${subject.runtime} ${subject.variant}: ${entries[i].check}`);
      }
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const [i, subject] of group.subjects.entries()) {
        const page = pages[i] ?? (await open(browser, server.url, subject, threads));
        entries[i].values.push(await figure(page));
        if (group.fresh) await page.close();
      }
    }
  } finally {
    await browser.close();
  }
  const ours = entries.find((entry) => entry.ours);
  for (const entry of entries) {
    // How many times as fast ours was, round by round: a round's figures were taken side by side.
    const ratios = entry.values.map((value, round) => (group.better === 'more' ? ours.values[round] / value : value / ours.values[round]));
    Object.assign(entry, { median: median(entry.values), low: at(entry.values, 0), high: at(entry.values, 1), ratio: median(ratios) });
  }
  const { id, title, unit, better, mmac } = group;
  return { id, title, unit, better, mmac, threads, entries };
}

function show({ title, unit, mmac, threads, entries }) {
  const work = mmac ? `; ${mmac.toFixed(1)} MMAC each` : '';
  console.log(`\n${title}; ${threads} thread${threads > 1 ? 's' : ''}${work}`);
  console.log(`  ${'runtime'.padEnd(38)}${unit.padStart(9)}   lowest  highest   ours is    model`);
  for (const { runtime, variant, ours, median, low, high, ratio, bytes } of entries) {
    const digits = (value) => value.toFixed(value < 100 ? 1 : 0);
    const figures = [median, low, high].map((value) => digits(value).padStart(9)).join('');
    const times = (ours ? '' : `${ratio.toFixed(2)} x`).padStart(10);
    const size = bytes ? `${(bytes / 1e6).toFixed(1)} MB`.padStart(9) : '';
    console.log(`  ${`${runtime}, ${variant}`.padEnd(38)}${figures}${times}${size}`);
  }
}

const save = () => options.json && writeFile(options.json, `${JSON.stringify(results, null, 1)}\n`);

const server = await serve({ root: path('') });
const results = { date: new Date().toISOString().slice(0, 10), machine: options.machine, rounds, groups: [] };
try {
  const browser = await launch();
  results.chromium = browser.context.browser()?.version() ?? (await (await browser.page()).evaluate(() => navigator.userAgent));
  results.chromium = /[\d.]{5,}/.exec(results.chromium.replace(/.*Chrome\//, ''))[0];
  await browser.close();
  console.log(`Chromium ${results.chromium}, ${rounds} rounds, interleaved; medians, and medians of the rounds' ratios`);
  for (const group of await groups(ROOT, wanted)) {
    for (const threads of options.threads.split(',').map(Number)) {
      results.groups.push(await measure(group, threads, server));
      show(results.groups.at(-1));
      await save();
    }
  }
} finally {
  await server.close();
}
if (wanted('sizes')) {
  results.sizes = await sizes(ROOT);
  console.log('\ndownload, gzip: WebAssembly + scripts');
  for (const { name, wasm, js } of results.sizes) {
    const [whole, first, second] = [wasm + js, wasm, js].map((bytes) => (bytes / 1e3).toFixed(0));
    console.log(`  ${name.padEnd(38)}${whole.padStart(9)} KB = ${first} + ${second}`);
  }
}
if (wanted('frames')) results.frames = await frames({ rounds: 4 * rounds });
await save();
