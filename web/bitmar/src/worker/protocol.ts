// Every message between the page and the worker. Calls are numbered; the worker computes one at a time.

import type { ErrorCode } from '../api/errors.js';
import type { Build, Explanation, Score } from '../api/types.js';
import type { EngineAnswer, EngineAskOptions, EngineEpisode, EngineExplainOptions, EngineLoadReport, EngineMemoryStats, EngineOptions, EngineResult } from '../engine.js';
import type { Recognition, Written } from '../memory/types.js';

/** A source, caught at the moment of the call. */
export type Picture =
  | { kind: 'pixels'; data: Uint8Array | Uint8ClampedArray; width: number; height: number }
  | { kind: 'bitmap'; bitmap: ImageBitmap }
  | { kind: 'file'; bytes: Uint8Array }
  | { kind: 'features'; features: Float32Array };

/** Makes the engine's module, and its threads; comes first. */
export interface StartRequest {
  type: 'start';
  id: number;
  build: Build;
  wasm: Uint8Array;
  threads: number;
  /** The name of a Web Lock that a worker holds for as long as it lives: browsers do not tell of one that ended. */
  lifeline: string | undefined;
  /** Whether to tell what the memory has become, for when another worker has to take this one's place. */
  replaceable: boolean;
}

export interface LoadRequest {
  type: 'load';
  id: number;
  config: string;
  tokenizer: string;
  preprocessor: string;
  weights: Uint8Array;
  int8KvCache: boolean;
  additiveMemory: boolean;
}

export interface CaptionRequest {
  type: 'caption';
  id: number;
  /** Null: of a prefix alone. */
  picture: Picture | null;
  options: EngineOptions;
  /** Write the episode once the caption is complete. */
  remember: { nowMs: number; label: string | null } | null;
}

export interface AskRequest {
  type: 'ask';
  id: number;
  picture: Picture;
  question: string;
  options: EngineAskOptions;
}

interface Saved {
  snapshot: Uint8Array | null;
  frames: readonly Uint8Array[];
}

/** What can be asked of the memory, and of a picture beside captions and answers: the question and its answer. */
export interface MemoryCalls {
  configure: [question: { slots: number }, answer: null];
  load: [question: Saved & { shrink: boolean }, answer: EngineLoadReport];
  /** A snapshot's episodes instead of those that are there, as a change. */
  adopt: [question: { snapshot: Uint8Array; shrink: boolean }, answer: EngineLoadReport];
  /** What any model's memory saved, as one snapshot, and its episodes. */
  merged: [question: Saved, answer: { snapshot: Uint8Array; episodes: EngineEpisode[] }];
  /** An episode of another model, from its picture. */
  restore: [question: { picture: Picture; episode: EngineEpisode; text: string }, answer: null];
  snapshot: [question: object, answer: { bytes: Uint8Array; sequence: number }];
  changes: [question: { since: number }, answer: { bytes: Uint8Array; sequence: number }];
  recall: [
    question: { picture: Picture | null; text: string | null; k: number; minScore: number },
    answer: { matches: (EngineEpisode & { similarity: number })[]; recognised: Recognition | null },
  ];
  /** In the space that the memory searches. */
  embed: [question: { picture: Picture | null; text: string | null }, answer: Float32Array];
  /** How a text comes about as a caption, and what the memory gives to it. */
  explain: [question: { picture: Picture; text: string; options: EngineExplainOptions }, answer: Explanation];
  /** How likely texts are. */
  score: [question: { picture: Picture | null; prefix: string; continuations: readonly string[]; end: boolean }, answer: Score[]];
  teach: [question: { picture: Picture; label: string; nowMs: number }, answer: Written];
  touch: [question: { id: number; nowMs: number }, answer: null];
  label: [question: { id: number; label: string | null }, answer: null];
  forget: [question: { id: number }, answer: boolean];
  clear: [question: object, answer: null];
  /** By falling id, below `before`. */
  list: [question: { limit: number; before: number }, answer: EngineEpisode[]];
  stats: [question: object, answer: EngineMemoryStats];
}

export type MemoryQuestion<Name extends keyof MemoryCalls = keyof MemoryCalls> = {
  [Each in Name]: { name: Each; question: MemoryCalls[Each][0] };
}[Name];

export interface MemoryRequest {
  type: 'memory';
  id: number;
  call: MemoryQuestion;
}

/** Stops that call before its next token, or before it changes the memory; it answers with the error 'aborted'. */
export interface AbortRequest {
  type: 'abort';
  id: number;
}

/** What a memory has become: all of it, or what changed since it was last told. */
export type MemoryCopy = { slots: number; snapshot: Uint8Array } | { frame: Uint8Array };

export type Request = StartRequest | LoadRequest | CaptionRequest | AskRequest | MemoryRequest | AbortRequest;

export type Reply =
  | { type: 'started'; id: number; held: boolean } // the lifeline
  | { type: 'loaded'; id: number; kernels: string; parameters: number; threads: number; canAsk: boolean; bytes: Record<string, number> }
  | { type: 'token'; id: number; piece: string }
  | ({ type: 'done'; id: number; written: Written | null; copy: MemoryCopy | null } & EngineResult)
  | ({ type: 'answered'; id: number } & EngineAnswer)
  | { type: 'remembered'; id: number; answer: MemoryCalls[keyof MemoryCalls][1]; copy: MemoryCopy | null }
  | { type: 'error'; id: number; code: ErrorCode; message: string };
