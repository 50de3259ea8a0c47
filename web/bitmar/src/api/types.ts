/// <reference lib="esnext.disposable" preserve="true" />
import type { MemoryOptions, Written } from '../memory/types.js';
import type { BitMarError } from './errors.js';

/**
 * The instance type of a global class where the consumer's environment has one: no DOM types are asked of node users.
 * @ignore
 */
export type Global<Name extends string> = typeof globalThis extends Record<Name, { prototype: infer Instance }> ? Instance : never;

/** A `<video>` element; nothing where there is no DOM. */
export type VideoElement = Global<'HTMLVideoElement'>;
/** A frame of a video: `ImageData`; nothing where there is no DOM. */
export type Frame = Global<'ImageData'>;

/** 8-bit RGBA (4 bytes per pixel) or RGB (3 bytes per pixel), row by row. ImageData is one of these. */
export interface RawPixels {
  /** `width * height` pixels of 4 or of 3 bytes. */
  readonly data: Uint8Array | Uint8ClampedArray;
  /** In pixels: 1 to 16,384; at most 40 million in all. */
  readonly width: number;
  /** In pixels: 1 to 16,384; at most 40 million in all. */
  readonly height: number;
}

/** A grid of vision features in place of a picture, for models whose input is one or for features computed elsewhere: numbers up to a million. */
export interface Features {
  /** As many numbers as the model's configuration says. */
  readonly features: Float32Array;
}

/**
 * Anything that shows a picture: pixels, something that can be drawn, or a file: as a Blob, as its bytes, as a Response that brings it, or as the
 * URL that it is fetched from. In node: RawPixels, Features and files, which are JPEG or PNG. Pages also draw SVG files, on white.
 */
export type Source =
  | RawPixels
  | Features
  | Global<'Blob'>
  | Uint8Array
  | ArrayBuffer
  | Global<'URL'>
  | Global<'Response'>
  | Frame
  | Global<'ImageBitmap'>
  | Global<'VideoFrame'>
  | Global<'OffscreenCanvas'>
  | Global<'HTMLCanvasElement'>
  | Global<'HTMLImageElement'>
  | VideoElement;

/**
 * The WebAssembly builds: `simd` runs everywhere, `relaxed` is faster where relaxed SIMD exists, and `relaxed-threads` has threads
 * too, in the workers of pages that are cross-origin isolated.
 */
export type Build = 'simd' | 'relaxed' | 'relaxed-threads';

/** How far a download has come. */
export interface Progress {
  /** The file that made progress. */
  readonly file: string;
  /** Bytes of all files together that have arrived. */
  readonly loaded: number;
  /** Bytes of all files together; undefined until all sizes are known. */
  readonly total: number | undefined;
}

/** A model's files, already in memory. */
export interface ModelFiles {
  /** config.json */
  readonly config: string;
  /** tokenizer.json */
  readonly tokenizer: string;
  /** preprocessor_config.json */
  readonly preprocessor: string;
  /** model.safetensors */
  readonly weights: Uint8Array | ArrayBuffer;
}

/** Where a model's files are, one by one: what the package `bitmar-model` exports. */
export interface ModelAddresses {
  /** Of config.json. */
  readonly config: string | URL;
  /** Of tokenizer.json. */
  readonly tokenizer: string | URL;
  /** Of preprocessor_config.json. */
  readonly preprocessor: string | URL;
  /** Of model.safetensors. */
  readonly weights: string | URL;
  /** SHA-256 of each file, in hexadecimal. A file that is another one is refused; browsers keep those that fit (`LoadOptions.cache`). */
  readonly sha256?: Readonly<Record<'config' | 'tokenizer' | 'preprocessor' | 'weights', string>> | undefined;
}

/** Options of `BitMar.load()`. */
export interface LoadOptions {
  /** Called with every piece that arrives. What it throws ends the call. */
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the downloads; the call rejects with the code 'aborted'. */
  signal?: AbortSignal | undefined;
  /**
   * The most milliseconds that a download may stand still, or its server not answer, up to 2^31 - 1; `load()` then rejects with the code
   * 'network'. 0: no limit. Default 30,000. A download that breaks off is taken up again, where its server can do that, or begins anew.
   */
  timeout?: number | undefined;
  /** What downloads the files, in place of the global `fetch`: a function of the same kind. */
  fetch?: (typeof globalThis extends { fetch: infer Fetch } ? Fetch : never) | undefined;
  /** Headers of the requests for the model's files, such as `{ authorization: ... }`. Default: none. */
  headers?: Readonly<Record<string, string>> | Global<'Headers'> | undefined;
  /**
   * Browsers: keep the model's files in this origin's Cache API, where their SHA-256 is known, so that no later visit downloads them. By
   * default they are kept where it is known from the start: for the default model, and for addresses with `sha256`. True reads it from the file
   * `manifest.json` in the model's folder: `{ "files": { "config.json": "SHA-256 in hexadecimal", ... } }`. False keeps nothing.
   */
  cache?: boolean | undefined;
  /**
   * Compute in a worker, or in this thread. By default in a worker, except where there are none (service workers, some browsers' shared
   * workers), and where a page that imports the package from another origin forbids `blob:` workers.
   */
  worker?: boolean | undefined;
  /** Which WebAssembly build; by default whichever the platform runs best. */
  build?: Build | undefined;
  /**
   * At most how many threads share the work on a picture, 1 to 64, where they can: in a worker of a page that is cross-origin
   * isolated, in a browser with relaxed SIMD. Elsewhere one thread does it all. By default 2, or 1 where there is one core.
   */
  threads?: number | undefined;
  /** Where the .wasm file is, when it is not beside the package's own modules. It must be that of `build`, by default one with one thread. */
  wasmUrl?: string | URL | undefined;
  /** Where the worker's module is, when a bundler moves it out of the package's sight: that of the package which fits `build`, by default one with one thread. */
  workerUrl?: string | URL | undefined;
  /** How the decoder keeps its keys and values: 'int8' takes a quarter of the memory of 'float32', the default, and is a little less exact. */
  kvCache?: 'float32' | 'int8' | undefined;
  /** How `model.memory` remembers. */
  memory?: MemoryOptions | undefined;
}

/** Options of a caption. */
export interface CaptionOptions {
  /**
   * Text that the caption is to take into account: at most 65,536 bytes of UTF-8, and as many tokens as the model takes: 63 by the default model.
   * Default: none.
   */
  prompt?: string | undefined;
  /** 1 to 1,048,576, with beams at most the decoder's window by their number. Default 24. */
  maxTokens?: number | undefined;
  /**
   * More than 1, at most 8, searches over that many beams; the tokens then arrive at the end. Default 1. The search is guided by a
   * bag-of-words prediction from the picture, where the model has one.
   */
  numBeams?: number | undefined;
  /** Of beam search, -10 to 10: more favours longer captions. 1 compares them by their mean log-probability; the default is the model's own. */
  lengthPenalty?: number | undefined;
  /** 0 to 1,000. 0, the default, always takes the likeliest token. */
  temperature?: number | undefined;
  /** Above 0, to 1, the default: samples only from the likeliest tokens, which together have that much of the probability. */
  topP?: number | undefined;
  /** The same seed gives the same caption. A whole number from 0 to 2^53 - 1. Default 0. */
  seed?: number | undefined;
  /** Stops the computation itself, at the next token. */
  signal?: AbortSignal | undefined;
  /** Each piece of the text as it is found. */
  onToken?: ((piece: string) => void) | undefined;
  /** Let the caption read the memory. By default it does so once the memory is open. */
  readMemory?: boolean | undefined;
  /** Remember the picture, where this tab writes the memory; `episode` of the caption then says where. Default false. */
  writeMemory?: boolean | undefined;
  /** A small picture to keep with the episode; true makes one, in browsers. Default: none. */
  thumbnail?: boolean | Global<'Blob'> | undefined;
  /** The memory's clock, in milliseconds since 1970. By default it is now. */
  now?: number | undefined;
}

/** How long a call took. */
export interface Timings {
  /** Pixels to vision features. */
  readonly visionMs: number;
  /** Prompt, fusion and every token. */
  readonly textMs: number;
  /** From the call to its answer, the wait for earlier calls left out. */
  readonly totalMs: number;
}

/** A caption that beam search found and did not choose. */
export interface Alternative {
  /** One sentence in lower case. */
  readonly text: string;
  /** Natural logarithm of its probability. */
  readonly logProbability: number;
}

/** A caption. */
export interface Caption {
  /** One sentence in lower case. */
  readonly text: string;
  /** The model's own numbers of the pieces of the text. */
  readonly tokens: readonly number[];
  /** Natural logarithm of the probability of the whole caption. */
  readonly logProbability: number;
  /** The probability, 0 to 1, that the caption is about the picture, as calibrated on validation photos; null for models that were not calibrated. */
  readonly confidence: number | null;
  /** Of several beams, what else was considered, the best first; none of one beam. */
  readonly alternatives: readonly Alternative[];
  /** How long it took. */
  readonly timings: Timings;
  /** Where the picture was remembered, with `writeMemory` and `memory.write`. */
  readonly episode?: Written;
}

/** Options of `ask()`. */
export interface AskOptions {
  /** 1, the default, takes the likeliest token after each; more, at most 8, search over that many beams for the likeliest answer. */
  numBeams?: number | undefined;
  /** By default the model's own. */
  maxTokens?: number | undefined;
  /** Rejects at once; a question that waits is not asked. */
  signal?: AbortSignal | undefined;
}

/** Options of `complete()`. */
export interface CompleteOptions {
  /** A picture that the text is about. Default: none. */
  image?: Source | undefined;
  /** 1 to 1,048,576; the text may end before. Default 24. */
  maxTokens?: number | undefined;
  /** As in `CaptionOptions`. */
  temperature?: number | undefined;
  /** As in `CaptionOptions`. */
  topP?: number | undefined;
  /** As in `CaptionOptions`. */
  seed?: number | undefined;
  /** Stops the computation itself, at the next token. */
  signal?: AbortSignal | undefined;
  /** Each piece of the text as it is found. */
  onToken?: ((piece: string) => void) | undefined;
}

/** The continuation of a text. */
export interface Completion {
  /** Without the prefix; in lower case where the tokenizer reads so. */
  readonly text: string;
  /** The model's own numbers of the pieces of the text. */
  readonly tokens: readonly number[];
  /** Natural logarithm of the probability of the text, and of its end if it was reached. */
  readonly logProbability: number;
  /** How long it took. */
  readonly timings: Timings;
}

/** An answer to a question. */
export interface Answer {
  /** A word or a short phrase; empty where the model declines. */
  readonly answer: string;
  /** The model declines, as it is trained to do for questions about who somebody is, their age, their origin or their mood. */
  readonly declined: boolean;
  /** 0 to 1: the probability of the whole answer, its end included. */
  readonly confidence: number;
  /** The model's own numbers of the pieces of the answer. */
  readonly tokens: readonly number[];
  /** Natural logarithm of the confidence. */
  readonly logProbability: number;
  /** How long it took. */
  readonly timings: Timings;
}

/** Options of `explain()`. */
export interface ExplainOptions {
  /** As the caption's own. */
  prompt?: string | undefined;
  /** As the caption's own, with the same default. */
  readMemory?: boolean | undefined;
  /** The id of an episode that is not read: `caption.episode.id` of a caption that was remembered as a new episode, which its memory did not have. */
  withoutEpisode?: number | undefined;
  /** How many words to tell that are expected of the picture, 0 to 1000. Default 12. */
  expected?: number | undefined;
  /** Rejects with the code 'aborted'. */
  signal?: AbortSignal | undefined;
}

/**
 * A word of a caption with the signs behind it, and what the model looked at when it chose the word: the attention of the decoder, the mean over its
 * layers and their heads. `patches`, `prompt`, `memory` and `before` sum to 1.
 */
export interface ExplainedWord {
  /** Without the spaces around it. */
  readonly text: string;
  /** Of the word after all before it, 0 to 1. */
  readonly probability: number;
  /** Of the parts of the picture, `side` x `side`, row by row from its top. */
  readonly patches: Float32Array;
  /** Of the prompt, of which a beginning is always there. */
  readonly prompt: number;
  /** Of what the memory gave. */
  readonly memory: number;
  /** Of the words before it, and the caption's beginning. */
  readonly before: number;
}

/** A word that is expected of a picture. */
export interface ExpectedWord {
  /** The word; of a rare one perhaps its beginning alone. */
  readonly text: string;
  /** That a caption of the picture has it, 0 to 1. */
  readonly probability: number;
}

/** An episode that was read. */
export interface EpisodeRead {
  /** Of the episode. */
  readonly id: number;
  /** Of what was read, 0 to 1. */
  readonly share: number;
}

/** How a text comes about as the caption of a picture. */
export interface Explanation {
  /** Parts of the picture on each side. */
  readonly side: number;
  /** The text's words, in their order. */
  readonly words: readonly ExplainedWord[];
  /**
   * The words that are expected of the picture, and the probability, 0 to 1, that a caption of it has them; the ones first that count most, likely and
   * rare. Of a rare word it may be the beginning alone. None in models that expect no words.
   */
  readonly expected: readonly ExpectedWord[];
  /** With `readMemory`: the episodes that the memory's part was made of, the largest share first. The shares sum to 1. */
  readonly memory: readonly EpisodeRead[];
}

/** Options of `score()`. */
export interface ScoreOptions {
  /** What the texts are about; pixels, no features. */
  image?: Source | undefined;
  /** Whether it counts as well that the text ends there, as in a caption's `logProbability`. Default false. */
  end?: boolean | undefined;
  /** Rejects with the code 'aborted'. */
  signal?: AbortSignal | undefined;
}

/** How likely a text is after another: the decoder's own probabilities, as natural logarithms. */
export interface Score {
  /** Of the whole text. */
  readonly logProbability: number;
  /** The same, divided by the number of tokens. */
  readonly perToken: number;
  /** The same, divided by the number of bytes of the text as UTF-8. */
  readonly perByte: number;
  /** The model's own numbers of the pieces of the text, and of its end if that counts. */
  readonly tokens: readonly number[];
  /** Of each token, after all before it. */
  readonly logProbabilities: readonly number[];
}

/** What was loaded, and how it runs. */
export interface ModelInfo {
  /** The model answers questions: `model.ask`. */
  readonly canAsk: boolean;
  /** The WebAssembly build in use. */
  readonly build: Build;
  /** Whether a worker computes, and not the thread that called. */
  readonly worker: boolean;
  /** How many threads share the work on a picture. */
  readonly threads: number;
  /** Name of the kernels that passed the self-check and are in use. */
  readonly kernels: string;
  /** How many weights the model has. */
  readonly parameters: number;
  /** Bytes of memory by purpose. */
  readonly bytes: Readonly<Record<string, number>>;
  /** Bytes of the model's files. */
  readonly fileBytes: number;
}

/** The caption of one picture of many, or why it has none. */
export type Captioned<Each = Source> = {
  /** From 0. */
  readonly index: number;
  /** The picture, as it was given. */
  readonly source: Each;
} & (
  | {
      /** Its caption. */
      readonly caption: Caption;
      /** Undefined where there is a caption. */
      readonly error: undefined;
    }
  | {
      /** Undefined where there is an error. */
      readonly caption: undefined;
      /** Why this picture has no caption. */
      readonly error: BitMarError;
    }
);

/** What `embed()` places in the space that the memory searches: a picture, a text, or a picture seen with a text in mind. */
export interface EmbedQuery {
  /** What it looks like. */
  readonly image?: Source | undefined;
  /** What it is. */
  readonly text?: string | undefined;
  /** Rejects with the code 'aborted'. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What becomes of a video that is watched: `running`; `waiting` for its first picture; `paused`, by its own controls or by `pause()`; `hidden` with
 * its page; `muted`, a camera that sends nothing for the moment; `ended`, or its camera was unplugged or stopped; `stopped`, the watch was.
 */
export type WatchState = 'waiting' | 'running' | 'paused' | 'hidden' | 'muted' | 'ended' | 'stopped';

/** Options of `captions()`: those of a caption, and these. */
export interface VideoOptions extends CaptionOptions {
  /** At least this many milliseconds from the begin of one caption to that of the next, up to 2^31 - 1. Default 0. */
  interval?: number | undefined;
  /**
   * Leaves out frames that differ less from the last one that was captioned: the mean difference of their pixels, 0 to 1. 0.02 leaves out the
   * noise of a camera, 0.1 small movements. Default 0: none.
   */
  minChange?: number | undefined;
  /** The video has come into another state. */
  onState?: ((state: WatchState) => void) | undefined;
}

/** Options of `watch()`: those of a caption, and these. */
export interface WatchOptions extends Omit<VideoOptions, 'onToken'> {
  /** Each finished caption, and the frame where `onFrame` is given too. */
  onCaption: (caption: Caption, frame: Frame | undefined) => void;
  /** Each piece of a caption as it is found. */
  onToken?: ((piece: string) => void) | undefined;
  /** A frame was taken and its caption begins. Its pixels are read in this thread only when this is given. */
  onFrame?: ((frame: Frame) => void) | undefined;
  /** Ends the watch, whatever it was: a disposed model, a lost worker. */
  onError?: ((error: unknown) => void) | undefined;
}

/** A watch that goes on until it is stopped. */
export interface Watch {
  /** What becomes of the video. Changes are told to `onState`. */
  readonly state: WatchState;
  /** No frame is taken until `resume()`. A caption that is being computed still comes. */
  pause(): void;
  /** Goes on with the newest frame. */
  resume(): void;
  /** Ends it: no callback is called after that, but `onState` with 'stopped'. */
  stop(): void;
  /** As `stop()`, for `using`. Only where the platform knows `Symbol.dispose`. */
  [Symbol.dispose](): void;
}
