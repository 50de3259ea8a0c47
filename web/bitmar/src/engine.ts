// What wasm/bindings.cpp shows to JavaScript.

export interface EngineOptions {
  prompt: string;
  maxTokens: number;
  numBeams: number;
  lengthPenalty: number;
  temperature: number;
  topP: number;
  seed: number;
}

export interface EngineResult {
  text: string;
  tokens: number[];
  logProbability: number;
  visionMs: number;
  textMs: number;
}

/** One caption: a begin, step until it gives null, result. A new begin drops what was unfinished. Errors have a `code`. */
export interface Engine {
  beginPixels(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, options: EngineOptions): void;
  beginFile(bytes: Uint8Array, options: EngineOptions): void;
  beginFeatures(features: Float32Array, options: EngineOptions): void;
  /** The next piece of text; null once the caption is complete. */
  step(): string | null;
  result(): EngineResult;
  kernelsName(): string;
  bytes(): Record<string, number>;
  delete(): void;
}

export interface EngineModule {
  Engine: {
    load(config: string, tokenizer: string, preprocessor: string, weights: Uint8Array): Engine;
  };
}

/** Emscripten's module factory. `instantiateWasm` hands the instance over when it is there. */
export type CreateModule = (options: {
  instantiateWasm(imports: WebAssembly.Imports, receive: (instance: WebAssembly.Instance) => void): object;
}) => Promise<EngineModule>;
