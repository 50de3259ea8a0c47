// Small hostile inputs as seeds: node tests/fuzz/seeds.mjs HOSTILE TO, a folder of TO for each target.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';

const [hostile, to] = process.argv.slice(2);
const TARGETS = { photo: 'image', config: 'config', tokenizer: 'tokenizer', safetensors: 'safetensors', prompt: 'prompt' };
const FILES = { config: 'config.json', tokenizer: 'tokenizer.json', safetensors: 'model.safetensors' };
const MOST_BYTES = 8192;

for (const source of readdirSync(new URL('.', import.meta.url))) {
  if (source.endsWith('.cpp')) mkdirSync(`${to}/${source.replace('.cpp', '')}`, { recursive: true });
}
for (const { kind, path } of JSON.parse(readFileSync(`${hostile}/table.json`, 'utf8'))) {
  if (!TARGETS[kind]) continue;
  const from = FILES[kind] ? `${hostile}/${path}/${FILES[kind]}` : `${hostile}/${path}`;
  if (statSync(from).size <= MOST_BYTES) copyFileSync(from, `${to}/${TARGETS[kind]}/${path}`);
}
