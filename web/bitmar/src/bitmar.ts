import { bytesOf, checkFileSize, checkFileText, checkFinite, checkNumber, checkOneOf, checkOptions, checkText, checkWhole, copied, isA, isAddress, isObject, MOST_BEAMS, MOST_TOKENS, reading, unlike } from './check.js';
import { defaultModel } from './default-model.js';
import { download, type Downloaded, type DownloadOptions } from './download.js';
import type { EngineAskOptions, EngineOptions } from './engine.js';
import { aborted, BitMarError, isAborted, reasonOf, unlessAborted } from './errors.js';
import { beforeSending, HostClient } from './host-client.js';
import { checkMemoryOptions, Memory, miniatureOf, type MemoryParts } from './memory.js';
import type { MemoryOptions } from './memory-types.js';
import { CHECKS, checkSums, downloadOptions, MODEL_FILES, wantedFiles } from './model-files.js';
import { modelHash } from './model-hash.js';
import { platform } from './platform.js';
import { bestBuild, BUILDS } from './simd.js';
import type { Answer, AskOptions, Build, Caption, CaptionOptions, LoadOptions, ModelAddresses, ModelFiles, ModelInfo, Source, VideoElement, Watch, WatchOptions } from './types.js';
import { watch } from './watch.js';

/**
 * A model, ready to caption pictures. It works on one picture at a time; further calls wait their turn.
 *
 *     const model = await BitMar.load();
 *     const { text } = await model.caption(photo);
 */
export class BitMar {
  /** What was loaded, and how it runs. */
  readonly info: ModelInfo;
  /** What this model remembers. */
  readonly memory: Memory;
  readonly #host: HostClient;

  private constructor(host: HostClient, info: ModelInfo, model: string | undefined, memory: MemoryOptions) {
    this.#host = host;
    this.info = info;
    const captionAndWrite: MemoryParts['captionAndWrite'] = (source, options, prepare) =>
      this.#caption(source, options, () => prepare().then(() => true));
    this.memory = Memory.of({ host, model, captionAndWrite }, memory);
  }

  /**
   * The default model, that of the package `bitmar-model`; or another one, from the address of its folder (in node also a path), the
   * addresses of its files, or the files themselves.
   */
  static async load(model?: string | URL | ModelAddresses | ModelFiles, options: LoadOptions = {}): Promise<BitMar> {
    checkOptions(options, 'load');
    if (model !== undefined) checkModel(model);
    const { signal } = options;
    if (isAborted(signal)) throw aborted(signal);
    const { kvCache = 'float32' } = options;
    checkOneOf('kvCache', kvCache, ['float32', 'int8']);
    const int8KvCache = kvCache === 'int8';
    checkMemoryOptions(options.memory ?? {});
    const how = downloadOptions(options);
    if (options.worker === undefined && !platform().hasWorkers) options = { ...options, worker: false };
    let chosen = chooseBuild(options);
    const wasm = { address: String(options.wasmUrl ?? platform().wasmAddress(chosen.build)), instead: withoutThreads(options, chosen.build) };

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
      const { threads, kernels, canAsk, bytes } = await host.load({ int8KvCache, ...files }, signal);
      return new BitMar(host, { build, worker, threads, kernels, canAsk, bytes, fileBytes }, hash, options.memory ?? {});
    } catch (error) {
      host.close();
      throw error;
    }
  }

  /** The caption of a picture as it is at the moment of the call. */
  async caption(source: Source, options: CaptionOptions = {}): Promise<Caption> {
    checkOptions(options, 'caption');
    return this.#caption(source, options, async () => {
      if (options.readMemory || options.writeMemory) await unlessAborted(this.memory.open(), options.signal ?? undefined);
      return options.writeMemory === true && this.memory.storage.role === 'writer';
    });
  }

  /** The pieces of a caption as they are found; the generator's return value is the whole. Leaving the loop stops the work. */
  async *stream(source: Source, options: CaptionOptions = {}): AsyncGenerator<string, Caption, void> {
    checkOptions(options, 'stream');
    const left = new AbortController();
    const signal = options.signal ? anyOf(options.signal, left) : left.signal;
    const pieces: string[] = [];
    let wake = () => {};
    let finished = false;
    const onToken = (piece: string) => {
      options.onToken?.(piece);
      pieces.push(piece);
      wake();
    };
    const result = this.caption(source, { ...options, signal, onToken }).finally(() => {
      finished = true;
      wake();
    });
    result.catch(() => {}); // reported by the await below
    try {
      for (;;) {
        while (pieces.length) yield pieces.shift()!;
        if (finished) return await result;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      left.abort();
    }
  }

  /**
   * The answer to a question about a picture ("what is on the table?"), a word or a short phrase. Rejects with the code 'unsupported'
   * where `info.canAsk` is false. The memory has no part in it.
   */
  async ask(source: Source, question: string, options: AskOptions = {}): Promise<Answer> {
    checkOptions(options, 'ask');
    const { signal } = options;
    if (isAborted(signal)) throw aborted(signal);
    checkText('question', question);
    const checked = engineAskOptions(options);
    const picture = await platform().capture(source);
    return this.#host.ask(picture, question, checked, signal);
  }

  /** Captions a playing video, always its newest frame, until stopped. */
  watch(video: VideoElement, options: WatchOptions): Watch {
    return watch(this, video as HTMLVideoElement, options);
  }

  /** Frees everything. Pending and later calls reject with the code 'disposed'. Changes of the memory that wait to be saved are lost. */
  dispose(): void {
    try {
      this.memory.close();
    } finally {
      this.#host.close(); // whatever a store of the caller's throws
    }
  }

  /** `prepare` makes the memory ready and says whether the episode is to be written. */
  async #caption(source: Source, options: CaptionOptions & { label?: string | undefined }, prepare: () => Promise<boolean>): Promise<Caption> {
    const { signal, onToken, now = Date.now(), label = null, thumbnail } = options;
    if (isAborted(signal)) throw aborted(signal);
    const checked = engineOptions(options);
    checkFinite('now', now);
    const picture = await platform().capture(source);
    const { write, small } = await beforeSending(picture, async () => {
      const write = await prepare();
      return { write, small: write ? miniatureOf(picture, thumbnail) : undefined }; // before the worker takes the picture
    });
    const readMemory = options.readMemory ?? this.memory.opened;
    const { caption, written } = await this.#host.caption(picture, { ...checked, readMemory }, write ? { nowMs: now, label } : null, onToken, signal);
    if (!written) return caption;
    await this.memory.wrote(written, caption.text, small);
    return { ...caption, episode: written };
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

function engineOptions(options: CaptionOptions): Omit<EngineOptions, 'readMemory'> {
  const { prompt = '', maxTokens = 24, numBeams = 1, lengthPenalty, temperature = 0, topP = 1, seed = 0 } = options;
  checkText('prompt', prompt);
  checkWhole('maxTokens', maxTokens, 1, MOST_TOKENS);
  checkWhole('numBeams', numBeams, 1, MOST_BEAMS);
  if (lengthPenalty !== undefined) checkNumber('lengthPenalty', lengthPenalty, -10, 10);
  checkNumber('temperature', temperature, 0, 1000);
  checkNumber('topP', topP, 0, 1);
  checkWhole('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  return { prompt, maxTokens, numBeams, lengthPenalty, temperature, topP, seed };
}

function engineAskOptions({ numBeams = 1, maxTokens }: AskOptions): EngineAskOptions {
  checkWhole('numBeams', numBeams, 1, MOST_BEAMS);
  if (maxTokens !== undefined) checkWhole('maxTokens', maxTokens, 1, MOST_TOKENS);
  return { numBeams, maxTokens: maxTokens ?? null };
}

function anyOf(signal: AbortSignal, controller: AbortController): AbortSignal {
  const stop = () => controller.abort(reasonOf(signal));
  if (isAborted(signal)) stop();
  else reading('signal', () => signal.addEventListener('abort', stop, { once: true, signal: controller.signal }));
  return controller.signal;
}
