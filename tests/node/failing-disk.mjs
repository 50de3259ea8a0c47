// A disk that fails: wraps what the file store calls of node's file system. To be imported before the store.
import fs from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/** Operations below `folder` are counted; those from number `at` on, `times` of them, fail: before they are done, or after. */
export const disk = { folder: undefined, at: Infinity, times: 1, mode: 'before', code: 'EIO', count: 0, failed: [] };

export function plan(folder, changes = {}) {
  Object.assign(disk, { folder, at: Infinity, times: 1, mode: 'before', code: 'EIO', count: 0, failed: [] }, changes);
}

function fails(what) {
  const number = disk.count++;
  if (number < disk.at || number >= disk.at + disk.times) return undefined;
  disk.failed.push(`${what} (${number})`);
  return Object.assign(new Error(`${disk.code}: it fails on demand, ${what}`), { code: disk.code });
}

const isOurs = (path) => disk.folder !== undefined && String(path).startsWith(disk.folder);
const short = (path) => String(path).slice(disk.folder.length);

async function operation(what, run, undo) {
  const error = fails(what);
  if (!error) return run();
  if (disk.mode === 'after') undo?.(await run());
  throw error;
}

for (const name of ['copyFile', 'link', 'mkdir', 'readdir', 'realpath', 'rename', 'rm', 'stat']) {
  const real = promises[name];
  promises[name] = (path, ...rest) => (isOurs(path) ? operation(`${name} ${short(path)}`, () => real(path, ...rest)) : real(path, ...rest));
}

const { open } = promises;
promises.open = async (path, ...rest) => {
  if (!isOurs(path)) return open(path, ...rest);
  const file = await operation(`open ${short(path)}`, () => open(path, ...rest), (opened) => opened.close());
  for (const name of ['sync', 'datasync', 'writeFile', 'appendFile', 'truncate', 'stat', 'readFile', 'read']) {
    const real = file[name].bind(file);
    file[name] = (...given) => operation(`${name} ${short(path)}`, () => real(...given));
  }
  return file;
};

const { openSync } = fs;
fs.openSync = (path, ...rest) => {
  const error = isOurs(path) && fails(`openSync ${short(path)}`);
  if (error) throw error;
  return openSync(path, ...rest);
};

syncBuiltinESMExports();
