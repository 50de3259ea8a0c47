// Small hostile inputs as seeds: node tests/fuzz/seeds.mjs HOSTILE TO, a folder of TO for each target.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';

const [hostile, to] = process.argv.slice(2);
const TARGETS = { photo: 'image', config: 'config', tokenizer: 'tokenizer', safetensors: 'safetensors', prompt: 'prompt' };
const FILES = { config: 'config.json', tokenizer: 'tokenizer.json', safetensors: 'model.safetensors' };
const MOST_BYTES = 8192;

for (const source of readdirSync(new URL('.', import.meta.url))) {
  if (source.endsWith('.cpp')) mkdirSync(`${to}/${source.replace('.cpp', '')}`, { recursive: true });
}
/** As tests/fuzz/memory.cpp takes them: how, then each part behind two bytes of its length. */
function memoryInput(how, ...parts) {
  return Buffer.concat([Buffer.from([how]), ...parts.flatMap((part) => [Buffer.from([part.length >> 8, part.length & 255]), part])]);
}
/** The first frames of a journal, each behind four bytes of its length. */
function framesOf(journal) {
  const frames = [];
  for (let at = 0; at + 4 < journal.length && frames.length < 6; at += 4 + journal.readUInt32LE(at)) {
    frames.push(journal.subarray(at + 4, at + 4 + journal.readUInt32LE(at)));
  }
  return frames;
}

for (const { kind, path, frames } of JSON.parse(readFileSync(`${hostile}/table.json`, 'utf8'))) {
  if (kind === 'memory' || kind === 'journal') {
    const bytes = readFileSync(`${hostile}/${path}`);
    if (!frames && bytes.length > MOST_BYTES) continue;
    const parts = frames ? framesOf(bytes) : [bytes];
    // A journal's frames twice, the first time as the snapshot; each loaded and imported, by a memory and by an engine.
    for (const how of [0, 2, 24, 26, 28]) writeFileSync(`${to}/memory/${path}-${how}`, memoryInput(how, ...(kind === 'memory' ? parts : [...parts, ...parts])));
    continue;
  }
  if (!TARGETS[kind]) continue;
  const from = FILES[kind] ? `${hostile}/${path}/${FILES[kind]}` : `${hostile}/${path}`;
  if (statSync(from).size <= MOST_BYTES) copyFileSync(from, `${to}/${TARGETS[kind]}/${path}`);
}
