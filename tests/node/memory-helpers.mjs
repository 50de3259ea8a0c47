// Shared by the tests of one memory in a folder: a place that is gone after each test, and sessions there that end with it.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'node:test';

import { BitMar } from 'bitmar';
import { TINY } from './helpers.mjs';

/** Of each test anew: a folder for anything, the memory's folder in it, and the models that are loaded. */
export let base, folder, models;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'bitmar-memory-'));
  folder = join(base, 'memory');
  models = [];
});
afterEach(async () => {
  for (const model of models) model.dispose();
  await rm(base, { recursive: true, force: true, maxRetries: 3 });
});

/** The memory in that folder, of one more session. Nothing is saved but by `flush`. */
export async function session(memory = {}, model = TINY, options = {}) {
  models.push(await BitMar.load(model, { memory: { folder, autosaveMs: 1e8, ...memory }, ...options }));
  return models.at(-1).memory;
}

/** The memory of the next session: the one before is over. */
export async function nextSession(memory = {}, model = TINY) {
  models.pop()?.dispose();
  return session(memory, model, { worker: false });
}

export const everything = async (memory) => (await memory.list({ limit: 100_000 })).episodes;
export const labels = async (memory) => (await everything(memory)).map(({ label }) => label).sort();

/** All files below a folder. */
export async function filesIn(place) {
  const entries = await readdir(place, { recursive: true, withFileTypes: true });
  return Promise.all(entries.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath ?? entry.path, entry.name))));
}
