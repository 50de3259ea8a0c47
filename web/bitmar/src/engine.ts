// The types of what wasm/bindings.cpp and wasm/photos.cpp export to JavaScript.

import type { Explanation, RawPixels, Score } from './api/types.js';
import type { LoadReport, Recognition, Written } from './memory/types.js';

export interface EngineOptions {
  prompt: string;
  maxTokens: number;
  numBeams: number;
  lengthPenalty?: number | undefined;
  temperature: number;
  topP: number;
  seed: number;
  /** Condition the caption on what the memory holds. */
  readMemory: boolean;
  /** What the decoder goes on from. */
  prefix: string;
}

export interface EngineResult {
  text: string;
  tokens: number[];
  logProbability: number;
  confidence: number | null;
  alternatives: { text: string; logProbability: number }[];
  visionMs: number;
  textMs: number;
}

export interface EngineAskOptions {
  numBeams: number;
  maxTokens: number | null;
}

export interface EngineAnswer {
  answer: string;
  declined: boolean;
  confidence: number;
  tokens: number[];
  logProbability: number;
  visionMs: number;
  textMs: number;
}

export interface EngineExplainOptions {
  prompt: string;
  readMemory: boolean;
  /** Not read; 0: none. */
  withoutEpisode: number;
  expected: number;
}

/** An entry of the memory; its vectors stay in the engine. */
export interface EngineEpisode {
  id: number;
  createdMs: number;
  lastUsedMs: number;
  uses: number;
  strength: number;
  label: string | null;
}

export interface EngineMemoryStats {
  slots: number;
  occupied: number;
  width: number;
  bytes: number;
  sequence: number;
}

export interface EngineLoadReport extends LoadReport {
  /** How often something is missing that a frame builds on. */
  gaps: number;
  sequence: number;
}

/** One caption: a begin, step until it gives null, result. A new begin drops what was unfinished. Errors have a `code`. */
export interface Engine {
  beginPixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, options: EngineOptions): void;
  beginFeatures(features: Float32Array, options: EngineOptions): void;
  beginText(options: EngineOptions): void;
  /** The next piece of text; null once the caption is complete. */
  step(): string | null;
  result(): EngineResult;

  canAsk(): boolean;
  /** A whole answer; it drops a caption that is unfinished. Throws 'unsupported' where the model cannot. */
  askPixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, question: string, options: EngineAskOptions): EngineAnswer;
  askFeatures(features: Float32Array, question: string, options: EngineAskOptions): EngineAnswer;

  /** How a text comes about as the picture's caption; it drops a caption that is unfinished. */
  explainPixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, text: string, options: EngineExplainOptions): Explanation;

  /** How likely each continuation is after the prefix, and after the picture; it drops a caption that is unfinished. */
  scorePixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, prefix: string, continuations: readonly string[], end: boolean): Score[];
  scoreText(prefix: string, continuations: readonly string[], end: boolean): Score[];

  /** How many slots; only while it holds nothing. */
  memoryConfigure(slots: number): void;
  /** Remembers the picture of the caption that is complete. */
  memoryWrite(nowMs: number, label: string | null): Written;
  /** Queries: unit vectors. */
  embedPixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, text: string | null): Float32Array;
  embedText(text: string): Float32Array;
  memoryRecall(query: Float32Array, k: number, minScore: number): (EngineEpisode & { similarity: number })[];
  memoryRecognise(query: Float32Array): Recognition | null;
  /** Throws 'invalid_argument' when there is no such episode; so does memoryLabel. */
  memoryTouch(id: number, nowMs: number): void;
  memoryTeachPixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, label: string, nowMs: number): Written;
  memoryLabel(id: number, label: string | null): void;
  memoryForget(id: number): boolean;
  memoryClear(): void;
  memoryList(): EngineEpisode[];
  memoryStats(): EngineMemoryStats;
  memorySnapshot(): Uint8Array;
  /** A frame of what changed since that sequence number; empty when nothing did. */
  memoryChanges(sinceSequence: number): Uint8Array;
  /** From a snapshot, or null for the memory as it is, and the frames that follow. It grows with what was saved, unless it is to shrink that. */
  memoryLoad(snapshot: Uint8Array | null, frames: readonly Uint8Array[], shrink: boolean): EngineLoadReport;
  /** A snapshot's episodes instead of those that are there, as one more change; all of it, or an error. */
  memoryAdopt(snapshot: Uint8Array, shrink: boolean): EngineLoadReport;
  /** What any model's memory saved, as one snapshot, and its episodes. */
  memoryMerged(snapshot: Uint8Array | null, frames: readonly Uint8Array[]): { snapshot: Uint8Array; episodes: EngineEpisode[] };
  /** An episode of another model's memory, seen again with this one. */
  memoryRestorePixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, episode: EngineEpisode, text: string): void;

  threads(): number;
  kernelsName(): string;
  parameters(): number;
  bytes(): Record<string, number>;
  delete(): void;
}

export interface EngineModule {
  Engine: {
    load(config: string, tokenizer: string, preprocessor: string, weights: Uint8Array, options: { int8KvCache: boolean; additiveMemory: boolean; threads: number }): Engine;
  };
}

/** The decoder of photos, which only node has. */
export interface PhotosModule {
  /** A JPEG or PNG file. Errors have a `code`. */
  decode(file: Uint8Array): RawPixels;
}

/** Emscripten's module factory. `instantiateWasm` hands the instance over when it is there, and the module for the threads. */
export type CreateModule = (options: {
  instantiateWasm(imports: WebAssembly.Imports, receive: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void): object;
  threads: number;
}) => Promise<EngineModule>;
