import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

import { checkPhotoSize } from '../api/check.js';
import { aborted, BitMarError, describeError, messageOf } from '../api/errors.js';
import type { Picture, Reply } from '../worker/protocol.js';
import { addressOf, fileIn } from './address.js';
import { capturePlain, fileOf, unknownSource } from './capture.js';
import { fetchFile } from './fetch.js';
import { decodePhoto } from './photos-node.js';
import type { OpenFile, Platform, Port, PortEvents } from './platform.js';

/** Read at once from the disk. */
const CHUNK_BYTES = 1 << 20;

export const nodePlatform: Platform = {
  locate(folder, file) {
    const base = addressOrPath(folder);
    return fileIn(base, file);
  },

  resolve: (file) => addressOrPath(file).href,

  open: (address, request) => (address.startsWith('file:') ? openFromDisk(address, request.signal) : fetchFile(address, request, true)),

  keptFiles: undefined,

  threads: () => 0,

  hasWorkers: true,

  mayLackWorker: false,

  wasmAddress: (build) => new URL(`../wasm/bitmar-${build}.wasm`, import.meta.url).href,

  startWorker(events: PortEvents, _, url): Port {
    // A worker takes over the process's flags and refuses `--input-type` (of `node --input-type=module -e ...`). Given flags of its own it
    // refuses V8's, which hold for the whole process anyway: so it gets none, and only then.
    const flags = process.execArgv.some((flag) => flag.startsWith('--input-type')) ? { execArgv: [] } : {};
    const address = url ? addressOf(url) : new URL('../worker-node.js', import.meta.url);
    let worker: Worker;
    try {
      worker = new Worker(address, flags);
    } catch (cause) {
      throw new BitMarError('worker_failed', `node refused to start the worker: ${messageOf(cause)}`, { cause });
    }
    worker.on('message', (reply: Reply) => events.reply(reply));
    worker.on('error', (error) => events.failed(new BitMarError('worker_failed', messageOf(error), { cause: error })));
    worker.on('exit', () => events.failed(new BitMarError('worker_failed', 'The worker exited')));
    return {
      post: (request, transfer) => worker.postMessage(request, transfer as ArrayBuffer[]),
      close: () => void worker.terminate(),
      keepAlive: (pending) => (pending ? worker.ref() : worker.unref()),
    };
  },

  capture(source, signal) {
    const plain = capturePlain(source);
    if (plain) return plain;
    const file = fileOf(source, signal);
    if (file !== undefined) return Promise.resolve(file).then(captureFile);
    throw unknownSource(source);
  },

  decodePhoto,

  miniature: () => undefined,

  defaultStore: ({ folder }) => (folder === undefined ? undefined : async (model) => new (await import('../store/file.js')).FileStore(folder, { model })),

  hasTabs: false,

  // Thrown, it would end the process.
  report(error) {
    process.emitWarning(describeError(error), 'BitMarWarning');
  },

  onLeave: () => () => {},
};

function addressOrPath(value: string | URL): URL {
  const address = String(value);
  return /^(https?|file|data):/.test(address) ? addressOf(address) : pathToFileURL(resolve(address));
}

async function captureFile(file: Blob): Promise<Picture> {
  // Before a copy is made of it.
  checkPhotoSize(file.size);
  try {
    return { kind: 'file', bytes: new Uint8Array(await file.arrayBuffer()) };
  } catch (cause) {
    throw new BitMarError('invalid_image', `The file can no longer be read: ${messageOf(cause)}`, { cause });
  }
}

/** Of a regular file alone: a pipe may never say a word, and a device never end. */
async function openFromDisk(address: string, signal: AbortSignal): Promise<OpenFile> {
  let path = address;
  try {
    path = fileURLToPath(address);
    const found = await stat(path);
    if (!found.isFile()) throw new Error('it is no file');
    return { start: 0, size: found.size, exact: true, chunks: chunksOf(path, signal) };
  } catch (error) {
    throw new BitMarError('missing_file', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

async function* chunksOf(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  // Without waiting for a writer, should it have become a pipe since.
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    if (!(await file.stat()).isFile()) throw new Error('it is no file');
    while (!signal.aborted) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(CHUNK_BYTES));
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
    throw aborted(signal);
  } finally {
    await file.close();
  }
}
