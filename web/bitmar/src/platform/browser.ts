import { checkPixels } from '../api/check.js';
import { BitMarError } from '../api/errors.js';
import { demand } from '../api/on-demand.js';
import type { Build, Source } from '../api/types.js';
import type { Picture, Reply } from '../worker/protocol.js';
import { addressOf, baseAddress, fileIn, unmoved } from './address.js';
import { capturePlain, fileOf, unknownSource } from './capture.js';
import { fetchFile } from './fetch.js';
import { keptFiles } from './kept-files.js';
import { sizeOf } from './photo-size.js';
import { miniature } from './pixels.js';
import type { Platform, Port, PortEvents } from './platform.js';

// As seen from the bundle, in dist/. Written out so that bundlers see the files.
const WASM: Record<Build, () => string> = {
  simd: () => new URL('./wasm/bitmar-simd.wasm', import.meta.url).href,
  relaxed: () => new URL('./wasm/bitmar-relaxed.wasm', import.meta.url).href,
  'relaxed-threads': () => new URL('./wasm/bitmar-relaxed-threads.wasm', import.meta.url).href,
};

/** As ON_DEMAND, in browsers alone. */
export const STORES = {
  indexedDb: () => import('../store/indexeddb.js'),
};

/** Next gives addresses without an origin. */
const ownAddress = (address: string): URL => addressOf(unmoved(address, 'bitmar/dist/'), baseAddress());

/** The worker's file, wherever a bundler has put it: outside of a `new Worker(...)`, so that none makes another file of it. */
function workerAddress(build: Build): URL {
  return ownAddress((build === 'relaxed-threads' ? new URL('./worker-threads.js', import.meta.url) : new URL('./worker.js', import.meta.url)).href);
}

export const browserPlatform: Platform = {
  locate(folder, file) {
    const base = addressOf(folder, baseAddress());
    return fileIn(base, file);
  },

  resolve: (file) => addressOf(file, baseAddress()).href,

  open: (address, request) => fetchFile(address, request, false),

  get keptFiles() {
    return typeof caches === 'object' ? keptFiles : undefined; // secure contexts have them
  },

  threads: () => (crossOriginIsolated ? navigator.hardwareConcurrency : 0),

  // Shared workers and service workers have none in some browsers, or in all.
  hasWorkers: typeof Worker === 'function',

  // The blob: worker of a script of another origin needs a word in the page's policy.
  get mayLackWorker() {
    return isForeign(workerAddress('simd'));
  },

  wasmAddress: (build) => ownAddress(WASM[build]()).href,

  startWorker(events: PortEvents, build, url): Port {
    const address = url ? addressOf(url, baseAddress()) : workerAddress(build);
    const own = isForeign(address) ? blobThatImports(address) : address.href;
    let worker: Worker;
    try {
      worker = new Worker(own, { type: 'module' });
    } catch (error) {
      throw new BitMarError('worker_failed', 'The browser refused to start the worker', { cause: error });
    }
    worker.onmessage = ({ data }: MessageEvent<Reply>) => events.reply(data);
    worker.onmessageerror = () => events.failed(new BitMarError('worker_failed', 'A message to or from the worker was lost'));
    worker.onerror = (event) => {
      event.preventDefault();
      events.failed(new BitMarError('worker_failed', event.message || 'The worker could not be loaded'));
    };
    const lifeline = navigator.locks && `bitmar-worker-${crypto.randomUUID()}`; // both are there in secure contexts
    const closed = new AbortController();
    return {
      post: (request, transfer) => worker.postMessage(request, transfer as Transferable[]),
      close() {
        closed.abort();
        worker.terminate();
        if (own !== address.href) URL.revokeObjectURL(own); // not before: its threads start from it
      },
      keepAlive() {},
      lifeline,
      holdsLifeline() {
        if (!lifeline) return;
        const ended = () => events.failed(new BitMarError('worker_failed', 'The worker has ended'));
        navigator.locks.request(lifeline, { signal: closed.signal }, ended).catch(() => {}); // closed
      },
    };
  },

  capture(source, signal) {
    const plain = capturePlain(source);
    if (plain) return plain;
    const file = fileOf(source, signal);
    return file === undefined ? captureDrawable(source) : Promise.resolve(file).then(captureFile);
  },

  decodePhoto: undefined,

  miniature,

  // Imported only when something is to be remembered.
  defaultStore: () => async (model) => (await STORES.indexedDb()).IndexedDbStore.of(model),

  hasTabs: true,

  // As the browser does with what an event's listener throws.
  report: (error) => reportError(error),

  onLeave(callback) {
    if (typeof document === 'undefined') return () => {}; // workers are not told
    const hidden = () => document.visibilityState === 'hidden' && callback();
    document.addEventListener('visibilitychange', hidden);
    window.addEventListener('pagehide', callback);
    return () => {
      document.removeEventListener('visibilitychange', hidden);
      window.removeEventListener('pagehide', callback);
    };
  },
};

/** Browsers start no worker from another origin. */
function isForeign({ protocol, origin }: URL): boolean {
  return /^https?:$/.test(protocol) && origin !== location.origin;
}

/** But they do start one of this origin that imports it. */
function blobThatImports(address: URL): string {
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(address.href)};`], { type: 'text/javascript' }));
}

/** Colours as they are in the file, as node and the native engine take them; but upright, as its EXIF says. */
const AS_STORED: ImageBitmapOptions = { colorSpaceConversion: 'none' };

/** A file is decoded by the browser, where it can; the rest is done or explained on demand. */
async function captureFile(file: Blob): Promise<Picture> {
  const size = await sizeOf(file).catch(() => undefined);
  if (size) checkPixels(size.width, size.height);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, AS_STORED);
  } catch (error) {
    return (await demand('photoFiles')).captureUndecoded(file, error);
  }
  return whole(bitmap);
}

/** Before pixels are read, which takes four bytes for each. */
function whole(bitmap: ImageBitmap): Picture {
  try {
    checkPixels(bitmap.width, bitmap.height);
  } catch (error) {
    bitmap.close();
    throw error;
  }
  return { kind: 'bitmap', bitmap };
}

async function captureDrawable(source: Source): Promise<Picture> {
  if (typeof HTMLVideoElement !== 'undefined' && source instanceof HTMLVideoElement && source.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
    throw new BitMarError('invalid_image', 'The video has no picture yet');
  }
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(source as ImageBitmapSource, AS_STORED);
  } catch (error) {
    if (error instanceof TypeError) throw unknownSource(source);
    throw new BitMarError('invalid_image', 'The browser could not take a picture from this source', { cause: error });
  }
  return whole(bitmap);
}
