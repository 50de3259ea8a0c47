// The API reference is made from the types: nothing that is exported lacks a description, no error code and no limit is left out.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { path } from './helpers.mjs';

test('every exported symbol has a description', async () => {
  const { status, said } = await new Promise((resolve) => {
    const args = [path('node_modules/typedoc/bin/typedoc'), '--emit', 'none', '--pretty', 'false'];
    execFile(process.execPath, args, { cwd: path('web/bitmar') }, (error, stdout, stderr) => resolve({ status: error ? error.code : 0, said: stdout + stderr }));
  });
  assert.equal(status, 0, said);
});

test('every error code is in the reference, and no other', async () => {
  const source = await readFile(path('web/bitmar/src/api/errors.ts'), 'utf8');
  const [, list] = /ERROR_CODES = \[(.*?)\]/s.exec(source);
  const codes = [...list.matchAll(/^ {2}'(\w+)'/gm)].map(([, code]) => code).sort();
  const described = [...source.matchAll(/^ \* \| `(\w+)` \| .+ \|$/gm)].map(([, code]) => code);
  assert.ok(codes.length > 20);
  assert.deepEqual(described, codes);
});

test('defaults and limits stand with the options', async () => {
  const types = await readFile(path('web/bitmar/src/api/types.ts'), 'utf8');
  const described = (option) => new RegExp(`/\\*\\*([^]*?)\\*/\\s*(?:readonly )?${option}\\?:`).exec(types)?.[1].split('/**').at(-1) ?? '';
  const wanted = { prompt: /63/, maxTokens: /Default 24/, numBeams: /at most 8.*Default 1/s, lengthPenalty: /-10 to 10/, temperature: /0 to 1,000. 0, the default/, topP: /1, the default/, seed: /2\^53 - 1. Default 0/, threads: /1 to 64.*default 2/s, interval: /Default 0/, kvCache: /default/ };
  for (const [option, pattern] of Object.entries(wanted)) assert.match(described(option), pattern, option);
  assert.match(await readFile(path('web/bitmar/src/memory/types.ts'), 'utf8'), /at most 63 bytes of UTF-8/);
});
