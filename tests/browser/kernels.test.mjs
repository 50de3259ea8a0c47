// The kernels' unit tests in Chromium: what a relaxed instruction gives is the browser's affair, and the processor's.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { launch, path, serve } from './helpers.mjs';

test('every table of the relaxed build is the reference bit for bit', async (t) => {
  const server = await serve({ root: path('') });
  const browser = await launch();
  try {
    const page = await browser.page();
    await page.goto(`${server.url}tests/browser/blank.html`);
    const { lines, status } = await page.evaluate(async () => {
      const { default: run } = await import('/build/wasm-relaxed/tests/bitmar_kernels_tests.mjs');
      const lines = [];
      const print = (line) => lines.push(line);
      const status = await new Promise((onExit, failed) => run({ print, printErr: print, onExit }).catch(failed));
      return { lines, status };
    });
    assert.equal(status, 0, lines.filter((line) => !/RUN|OK/.test(line)).join('\n'));
    const tables = new Set(lines.map((line) => /OK.*\/(\w+) /.exec(line)?.[1]).filter(Boolean));
    t.diagnostic(`tables: ${[...tables].join(', ')}`);
    assert.match([...tables][0], /^relaxed_/);
  } finally {
    await browser.close();
    await server.close();
  }
});
