// What `BitMar.load` does: checks what it was given, gets the files, starts a host and hands it the model.

import { bytesOf, checkFileSize, checkFileText, checkOneOf, checkOptions, checkWhole, copied, isA, isAddress, isObject, isSet, reading, unlike } from '../api/check.js';
import { aborted, BitMarError, isAborted } from '../api/errors.js';
import { Session } from '../api/session.js';
import type { Build, LoadOptions, ModelAddresses, ModelFiles, ModelInfo } from '../api/types.js';
import { memorySettings } from '../memory/options.js';
import { platform } from '../platform/platform.js';
import { HostClient } from '../worker/host-client.js';
import { defaultModel } from './default-model.js';
import { download, type Downloaded, type DownloadOptions } from './download.js';
import { CHECKS, checkSums, downloadOptions, MODEL_FILES, wantedFiles } from './model-files.js';
import { modelHash } from './model-hash.js';
import { bestBuild, BUILDS } from './simd.js';

export async function loadSession(model: string | URL | ModelAddresses | ModelFiles | undefined, options: LoadOptions): Promise<{ session: Session; info: ModelInfo }> {
  checkOptions(options, 'load');
  if (model !== undefined) checkModel(model);
  const { signal } = options;
  if (isAborted(signal)) throw aborted(signal);
  const { kvCache = 'float32' } = options;
  checkOneOf('kvCache', kvCache, ['float32', 'int8']);
  const int8KvCache = kvCache === 'int8';
  const memory = memorySettings(options.memory ?? {});
  const additiveMemory = memory.policy === 'additive';
  for (const name of ['wasmUrl', 'workerUrl'] as const) if (isSet(options[name]) && !isAddress(options[name])) throw unlike(name, 'an address', options[name]);
  const how = downloadOptions(options);
  if (options.worker === undefined && !platform().hasWorkers) options = { ...options, worker: false };
  let chosen = chooseBuild(options);
  const wasm = { address: isSet(options.wasmUrl) ? platform().resolve(options.wasmUrl!) : platform().wasmAddress(chosen.build), instead: withoutThreads(options, chosen.build) };

  let files: Omit<ModelFiles, 'weights'> & { weights: Uint8Array };
  let loader: Downloaded;
  const isDefault = model === undefined;
  model ??= await defaultModel();
  if (isAddress(model) || isAddress(model.weights)) {
    const wanted = await wantedFiles(model as string | URL | ModelAddresses, isDefault, options, how);
    const { config, tokenizer, preprocessor, weights, ...rest } = await download({ ...wanted, wasm }, how, CHECKS);
    const text = ({ bytes }: Downloaded) => new TextDecoder().decode(bytes);
    files = { config: text(config), tokenizer: text(tokenizer), preprocessor: text(preprocessor), weights: weights.bytes };
    loader = rest.wasm;
  } else {
    const { weights } = model;
    // A copy, because they are needed for as long as the model lives: see HostClient.
    files = { ...(model as ModelFiles), weights: copied(() => new Uint8Array(isA(weights, 'ArrayBuffer') ? (weights as ArrayBuffer).slice(0) : weights), 'the weights') };
    loader = (await download({ wasm }, how, CHECKS)).wasm;
  }
  if (loader.address !== wasm.address) chosen = { build: 'relaxed', threads: 1 };

  const hash = await modelHash(files.weights, files.config);
  const { host, build, worker } = await startHost(options, how, { ...chosen, wasm: loader.bytes });
  try {
    const texts = [files.config, files.tokenizer, files.preprocessor].map(bytesOf);
    const fileBytes = texts.reduce((sum, bytes) => sum + bytes, files.weights.length);
    const { threads, kernels, parameters, canAsk, bytes } = await host.load({ int8KvCache, additiveMemory, ...files }, signal);
    const info = { build, worker, threads, kernels, parameters, canAsk, bytes, fileBytes };
    return { session: new Session(host, hash, memory), info };
  } catch (error) {
    host.close();
    throw error;
  }
}

/** What `load` takes for a model. */
function checkModel(model: unknown): void {
  reading('The model', () => checkModelFiles(model));
}

function checkModelFiles(model: unknown): void {
  if (isAddress(model)) return;
  const parts = Object.keys(MODEL_FILES).join(', ');
  if (!isObject(model)) throw unlike('A model', `the address of its folder, or its files or their addresses { ${parts} }`, model);
  if (isAddress(model.weights)) {
    for (const part of Object.keys(MODEL_FILES)) if (!isAddress(model[part])) throw unlike(`The model's ${part}`, 'an address, as its weights are,', model[part]);
    checkSums(model.sha256);
    return;
  }
  for (const part of ['config', 'tokenizer', 'preprocessor'] as const) checkFileText(part, model[part]);
  const { weights } = model;
  if (!isA(weights, 'Uint8Array', 'ArrayBuffer')) throw unlike("The model's weights", 'a Uint8Array or an ArrayBuffer', weights);
  checkFileSize('weights', (weights as Uint8Array | ArrayBuffer).byteLength);
}

/** The wasm that does where the one with threads is not to be had, unless that one was asked for. */
function withoutThreads({ build }: LoadOptions, chosen: Build): string | undefined {
  return chosen === 'relaxed-threads' && build === undefined ? platform().wasmAddress('relaxed') : undefined;
}

/** As asked for, as far as the platform goes. */
function chooseBuild({ build, threads = 2, worker, wasmUrl, workerUrl }: LoadOptions): { build: Build; threads: number } {
  checkWhole('threads', threads, 1, 64);
  const possible = worker === false ? 0 : platform().threads();
  if (build === 'relaxed-threads' && !possible) {
    throw new BitMarError('unsupported_platform', 'Threads need a worker, and a page that is cross-origin isolated');
  }
  if (build !== undefined) checkOneOf('build', build, BUILDS);
  build ??= bestBuild(Math.min(threads, possible) > 1 && wasmUrl === undefined && workerUrl === undefined);
  return { build, threads: build === 'relaxed-threads' ? Math.min(threads, possible) : 1 };
}

/**
 * Threads that were not asked for, and are not to be had after all, are done without: memory to share can be scarcer than other. So is a
 * worker, where the platform says so.
 */
async function startHost(
  options: LoadOptions,
  how: DownloadOptions,
  { build, threads, wasm }: { build: Build; threads: number; wasm: Uint8Array },
): Promise<{ host: HostClient; build: Build; worker: boolean }> {
  const worker = options.worker !== false;
  try {
    return { host: await HostClient.start(options, { build, threads, wasm }), build, worker };
  } catch (error) {
    if (isAborted(options.signal) || !(error instanceof BitMarError)) throw error;
    const instead = withoutThreads(options, build);
    if (instead) {
      const relaxed = await download({ wasm: { address: instead } }, { ...how, onProgress: undefined }, CHECKS);
      return startHost(options, how, { build: 'relaxed', threads: 1, wasm: relaxed.wasm.bytes });
    }
    if (error.code !== 'worker_failed' || options.worker !== undefined || options.workerUrl || build === 'relaxed-threads' || !platform().mayLackWorker) throw error;
    return startHost({ ...options, worker: false }, how, { build, threads: 1, wasm });
  }
}
