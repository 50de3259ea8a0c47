/// <reference lib="esnext.disposable" preserve="true" />
import { bytesOf, checkFileSize, checkFileText, checkNumber, checkOneOf, checkOptions, checkText, checkTime, checkWhole, copied, isA, isAddress, checkImageOrText, isObject, isSet, MOST_BEAMS, MOST_TOKENS, reading, unlike } from './check.js';
import { defaultModel } from './default-model.js';
import { download, type Downloaded, type DownloadOptions } from './download.js';
import type { EngineAskOptions, EngineOptions } from './engine.js';
import { aborted, BitMarError, isAborted, unlessAborted } from './errors.js';
import { beforeSending, HostClient } from './host-client.js';
import { checkMemoryOptions, Memory, miniatureOf, type MemoryParts } from './memory.js';
import type { MemoryOptions } from './memory-types.js';
import { CHECKS, checkSums, downloadOptions, MODEL_FILES, wantedFiles } from './model-files.js';
import { modelHash } from './model-hash.js';
import { demand } from './on-demand.js';
import { platform } from './platform.js';
import { anyOf, disposable } from './signals.js';
import { bestBuild, BUILDS } from './simd.js';
import type {
  Answer,
  AskOptions,
  Build,
  Caption,
  Captioned,
  CaptionOptions,
  EmbedQuery,
  LoadOptions,
  ModelAddresses,
  ModelFiles,
  ModelInfo,
  Source,
  VideoElement,
  VideoOptions,
  Watch,
  WatchOptions,
} from './types.js';
import { captions, watch } from './watch.js';

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
    const additiveMemory = options.memory?.policy === 'additive';
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
      const { threads, kernels, canAsk, bytes } = await host.load({ int8KvCache, additiveMemory, ...files }, signal);
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
    const signal = anyOf(options.signal, left);
    const pieces: string[] = [];
    let wake = () => {};
    let finished = false;
    const onToken = (piece: string) => {
      pieces.push(piece);
      wake();
      return options.onToken?.(piece); // what it throws, now or later, ends the call
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
    const picture = await platform().capture(source, signal);
    return this.#host.ask(picture, question, checked, signal);
  }

  /**
   * The captions of many pictures, in their order. A picture that cannot be captioned gives its error and ends nothing; the loop rejects
   * with what would happen to all that follow ('aborted', 'disposed', 'worker_failed' ...). Leaving the loop takes no more of the sources.
   *
   *     for await (const { source, caption, error } of model.captionAll(files)) console.log(source.name, caption?.text ?? error.code);
   */
  async *captionAll<Each extends Source>(sources: Iterable<Each> | AsyncIterable<Each>, options: CaptionOptions = {}): AsyncGenerator<Captioned<Each>, void, void> {
    checkOptions(options, 'captionAll');
    engineOptions(options);
    if (!isObject(sources) || !(Symbol.iterator in sources || Symbol.asyncIterator in sources)) throw unlike('What captionAll() takes', 'an array or another iterable of pictures', sources);
    const left = new AbortController();
    const signal = anyOf(options.signal, left);
    if (signal.aborted) throw aborted(signal);
    try {
      yield* (await demand('captionAll')).captionAll(this, sources, { ...options, signal });
    } finally {
      left.abort();
    }
  }

  /** Captions a playing video, always its newest frame, until stopped. `onState` and `state` say when there is nothing to caption. */
  watch(video: VideoElement, options: WatchOptions): Watch {
    return watch(this, video as HTMLVideoElement, options);
  }

  /**
   * The captions of a playing video: whenever the loop comes round, that of the newest frame. Ends with the video or its camera; waits while it is
   * paused, muted or hidden. Leaving the loop ends the work; the signal rejects with 'aborted'.
   *
   *     for await (const { text } of model.captions(video, { interval: 1000, minChange: 0.05 })) console.log(text);
   */
  captions(video: VideoElement, options: VideoOptions = {}): AsyncGenerator<Caption, void, void> {
    return captions(this, video as HTMLVideoElement, options);
  }

  /**
   * Where a picture, a text, or a picture seen with a text in mind lies in the space that the memory searches: a vector of length 1. The dot
   * product of two is how similar they are, -1 to 1. The memory has no part in it. Rejects with 'invalid_argument' where the text is empty and
   * there is no picture.
   */
  async embed(what: EmbedQuery): Promise<Float32Array> {
    checkOptions(what, 'embed');
    const { image, text, signal } = what;
    if (isAborted(signal)) throw aborted(signal);
    checkImageOrText('embed', image, text);
    const picture = isSet(image) ? await platform().capture(image!, signal) : null;
    return this.#host.memory('embed', { picture, text: text ?? null }, signal);
  }

  /** As `dispose()`, for `using model = await BitMar.load()`. Only where the platform knows `Symbol.dispose`. */
  declare readonly [Symbol.dispose]: () => void;

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
    checkTime('now', now);
    const picture = await platform().capture(source, signal);
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

disposable(BitMar.prototype, function () {
  this.dispose();
});

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
  if (!(typeof topP === 'number' && topP > 0 && topP <= 1)) throw unlike('topP', 'a number above 0, up to 1', topP);
  checkWhole('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  return { prompt, maxTokens, numBeams, lengthPenalty, temperature, topP, seed };
}

function engineAskOptions({ numBeams = 1, maxTokens }: AskOptions): EngineAskOptions {
  checkWhole('numBeams', numBeams, 1, MOST_BEAMS);
  if (maxTokens !== undefined) checkWhole('maxTokens', maxTokens, 1, MOST_TOKENS);
  return { numBeams, maxTokens: maxTokens ?? null };
}
