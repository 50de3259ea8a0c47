// Every message between the page and the worker. Calls are numbered; the worker computes one at a time.

import type { EngineOptions } from './engine.js';
import type { ErrorCode } from './errors.js';
import type { Build } from './types.js';

/** A source, caught at the moment of the call. */
export type Picture =
  | { kind: 'pixels'; data: Uint8Array | Uint8ClampedArray; width: number; height: number }
  | { kind: 'bitmap'; bitmap: ImageBitmap }
  | { kind: 'file'; bytes: Uint8Array }
  | { kind: 'features'; features: Float32Array };

export interface LoadRequest {
  type: 'load';
  id: number;
  build: Build;
  wasm: Uint8Array;
  config: string;
  tokenizer: string;
  preprocessor: string;
  weights: Uint8Array;
}

export interface CaptionRequest {
  type: 'caption';
  id: number;
  picture: Picture;
  options: EngineOptions;
}

/** Stops that call before its next token; it answers with the error 'aborted'. */
export interface AbortRequest {
  type: 'abort';
  id: number;
}

export type Request = LoadRequest | CaptionRequest | AbortRequest;

export type Reply =
  | { type: 'loaded'; id: number; kernels: string; bytes: Record<string, number> }
  | { type: 'token'; id: number; piece: string }
  | { type: 'done'; id: number; text: string; tokens: number[]; logProbability: number; visionMs: number; textMs: number }
  | { type: 'error'; id: number; code: ErrorCode; message: string };
