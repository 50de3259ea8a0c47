// Where a model's files are, what they must be, and how they are asked for.

import { checkFileSize, checkNumber, isAddress, isObject, isSet, unlike, wrong } from '../api/check.js';
import { BitMarError, messageOf } from '../api/errors.js';
import { LONGEST_TIMER_MS, type MOST_BYTES } from '../api/limits.js';
import type { LoadOptions, ModelAddresses } from '../api/types.js';
import { platform } from '../platform/platform.js';
import { download, type Checks, type DownloadOptions, type Wanted } from './download.js';

type Part = keyof typeof MOST_BYTES;

export const MODEL_FILES = {
  config: 'config.json',
  tokenizer: 'tokenizer.json',
  preprocessor: 'preprocessor_config.json',
  weights: 'model.safetensors',
} as const;

/** In a model's folder: { "files": { "config.json": its SHA-256 in hexadecimal, ... } }. */
const MANIFEST = 'manifest.json';

export function downloadOptions({ signal, onProgress, timeout, fetch, cache, headers }: LoadOptions): DownloadOptions {
  if (isSet(timeout)) checkNumber('timeout', timeout, 0, LONGEST_TIMER_MS);
  try {
    void new Headers(headers ?? {});
  } catch (cause) {
    throw wrong(`headers cannot be sent: ${messageOf(cause)}`, cause);
  }
  return { signal, onProgress: onProgress ?? undefined, timeout: timeout ?? undefined, fetch: fetch ?? undefined, keep: cache ?? true };
}

/** What is asked of the files that come. Servers that answer every unknown address with a page are common. */
export const CHECKS: Checks<Part | 'wasm'> = {
  size(part, bytes) {
    if (part !== 'wasm') checkFileSize(part, bytes);
  },

  contents(part, bytes, address) {
    const found = isPage(bytes) ? 'a web page' : 'something else';
    if (part !== 'wasm') {
      if (isPage(bytes)) throw new BitMarError('invalid_model', `${address} is ${found}, not the model's ${part}: is the address of the model right?`);
    } else if (!bytes.subarray(0, 4).every((byte, i) => byte === '\0asm'.charCodeAt(i)) || bytes.length < 8) {
      throw new BitMarError('missing_file', `${address} is ${found}, not WebAssembly: the package's file is not there`);
    }
  },
};

/** Weights begin with the length of their header, whose higher bytes are zero. */
function isPage(bytes: Uint8Array): boolean {
  const beginning = bytes.subarray(0, 256);
  return !bytes.subarray(0, 8).includes(0) && /^\s*<[!?a-z]/i.test(new TextDecoder().decode(beginning));
}

/** `usual`: it is the default model, whose manifest may be missing. */
export async function wantedFiles(model: string | URL | ModelAddresses, usual: boolean, options: LoadOptions, how: DownloadOptions): Promise<Record<Part, Wanted>> {
  const { headers, cache } = options;
  const sums = isAddress(model) ? ((cache ?? usual) ? await sumsOf(model, usual, headers, how) : undefined) : model.sha256;
  const wanted = (part: Part): Wanted => ({
    address: isAddress(model) ? platform().locate(model, MODEL_FILES[part]) : platform().resolve(model[part]),
    sha256: sums?.[part].toLowerCase(),
    headers: headers ?? undefined,
  });
  return { config: wanted('config'), tokenizer: wanted('tokenizer'), preprocessor: wanted('preprocessor'), weights: wanted('weights') };
}

/** The checksums of the files of a folder: as its server says, or, where that one cannot be reached, as it said the last time. */
async function sumsOf(folder: string | URL, mayLack: boolean, headers: LoadOptions['headers'], how: DownloadOptions): Promise<ModelAddresses['sha256']> {
  const address = platform().locate(folder, MANIFEST);
  const name = encodeURIComponent(address);
  const kept = how.keep ? platform().keptFiles : undefined;
  let bytes: Uint8Array | undefined;
  try {
    ({ bytes } = (await download({ manifest: { address, headers: headers ?? undefined } }, { ...how, onProgress: undefined })).manifest);
    kept?.put(name, bytes).catch(() => {});
  } catch (error) {
    if (!(error instanceof BitMarError)) throw error;
    if (mayLack && error.code === 'missing_file') return undefined;
    bytes = error.code === 'network' ? await kept?.get(name).catch(() => undefined) : undefined;
    if (!bytes) throw error;
  }
  try {
    const { files } = JSON.parse(new TextDecoder().decode(bytes)) as { files: Record<string, unknown> };
    const sums = Object.fromEntries(Object.entries(MODEL_FILES).map(([part, file]) => [part, files[file]]));
    checkSums(sums);
    return sums as ModelAddresses['sha256'];
  } catch (cause) {
    throw new BitMarError('invalid_model', `${address} is no manifest of a model: ${messageOf(cause)}`, { cause });
  }
}

export function checkSums(sums: unknown): void {
  if (!isSet(sums)) return;
  if (!isObject(sums)) throw unlike('sha256', 'an object', sums);
  for (const part of Object.keys(MODEL_FILES)) {
    const sum = sums[part];
    if (typeof sum !== 'string' || !/^[0-9a-f]{64}$/i.test(sum)) throw unlike(`sha256.${part}`, '64 hexadecimal digits', sum);
  }
}
