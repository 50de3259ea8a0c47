// The worker's side: owns the engine and answers requests. Also runs in the caller's own thread with `worker: false`.

import { BitMarError, ERROR_CODES, messageOf } from '../api/errors.js';
import type { ErrorCode } from '../api/errors.js';
import type { Build, Features, RawPixels } from '../api/types.js';
import type { CreateModule, Engine, EngineAnswer, EngineModule } from '../engine.js';
import { readPixels } from '../platform/pixels.js';
import type { Platform } from '../platform/platform.js';
import { answer } from './host-memory.js';
import { MemoryTeller } from './memory-teller.js';
import type { AskRequest, CaptionRequest, LoadRequest, MemoryCopy, MemoryQuestion, MemoryRequest, Picture, Reply, Request, StartRequest } from './protocol.js';

/** The loaders of the WebAssembly builds that a host can start. */
export type Loaders = Partial<Record<Build, () => Promise<{ default: CreateModule }>>>;

export class Host {
  readonly #reply: (reply: Reply) => void;
  readonly #loaders: Loaders;
  readonly #decodePhoto: Platform['decodePhoto'];
  #module: EngineModule | undefined;
  #threads = 1; // of the module
  #engine: Engine | undefined;
  #teller: MemoryTeller | undefined; // where the worker can be replaced
  #active: number | undefined; // the call that is being computed

  constructor(reply: (reply: Reply) => void, loaders: Loaders, decodePhoto?: Platform['decodePhoto']) {
    this.#reply = reply;
    this.#loaders = loaders;
    this.#decodePhoto = decodePhoto;
  }

  receive(request: Request): void {
    if (request.type === 'abort') {
      if (this.#active === request.id) this.#active = undefined;
      return;
    }
    this.#answer(request).catch((error: unknown) => {
      this.#reply({ type: 'error', id: request.id, code: codeOf(error, request.type), message: inApiWords(messageOf(error)) });
    });
  }

  close(): void {
    this.#active = undefined;
    this.#engine?.delete();
    this.#engine = undefined;
  }

  #answer(request: Exclude<Request, { type: 'abort' }>): Promise<void> {
    switch (request.type) {
      case 'start':
        return this.#start(request);
      case 'load':
        return this.#load(request);
      case 'caption':
        return this.#caption(request);
      case 'ask':
        return this.#ask(request);
      case 'memory':
        return this.#memory(request);
    }
  }

  async #start({ id, build, wasm, threads, lifeline, replaceable }: StartRequest): Promise<void> {
    const held = lifeline !== undefined && (await hold(lifeline));
    const loader = this.#loaders[build];
    if (!loader) throw new BitMarError('unsupported_platform', `The build ${build} does not run here`);
    const { default: createBitMar } = await loader();
    this.#module = await instantiate(createBitMar, wasm, threads);
    this.#threads = threads;
    if (replaceable) this.#teller = new MemoryTeller();
    this.#reply({ type: 'started', id, held });
  }

  async #load({ id, config, tokenizer, preprocessor, weights, int8KvCache, additiveMemory }: LoadRequest): Promise<void> {
    const engine = this.#module!.Engine.load(config, tokenizer, preprocessor, weights, { int8KvCache, additiveMemory, threads: this.#threads });
    this.#engine = engine;
    this.#reply({ type: 'loaded', id, kernels: engine.kernelsName(), parameters: engine.parameters(), threads: engine.threads(), canAsk: engine.canAsk(), bytes: engine.bytes() });
  }

  async #caption({ id, picture, options, remember }: CaptionRequest): Promise<void> {
    this.#active = id;
    const image = picture && (await this.#see(picture));
    await this.#stillWanted(id);
    begin(this.#loaded(), image, options);
    for (;;) {
      await this.#stillWanted(id);
      const piece = this.#loaded().step();
      if (piece === null) break;
      if (piece) this.#reply({ type: 'token', id, piece });
    }
    this.#active = undefined;
    const result = this.#loaded().result();
    const written = remember ? this.#loaded().memoryWrite(remember.nowMs, remember.label) : null;
    const copy = remember ? this.#copy() : null;
    this.#reply({ type: 'done', id, ...result, written, copy });
  }

  async #ask({ id, picture, question, options }: AskRequest): Promise<void> {
    this.#active = id;
    const image = await this.#see(picture);
    await this.#stillWanted(id);
    this.#active = undefined;
    this.#reply({ type: 'answered', id, ...answerOf(this.#loaded(), image, question, options) });
  }

  async #memory({ id, call }: MemoryRequest): Promise<void> {
    this.#active = id;
    const picture = 'picture' in call.question ? call.question.picture : null;
    const image = picture ? await this.#see(picture) : undefined;
    await this.#stillWanted(id);
    this.#active = undefined;
    const answered = answer(this.#loaded(), call, image);
    this.#reply({ type: 'remembered', id, answer: answered, copy: this.#copy(call) });
  }

  #copy(call?: MemoryQuestion): MemoryCopy | null {
    return this.#teller?.after(this.#loaded(), call) ?? null;
  }

  /** What the engine takes of a picture. */
  async #see(picture: Picture): Promise<RawPixels | Features> {
    switch (picture.kind) {
      case 'pixels':
      case 'features':
        return picture;
      case 'bitmap':
        return readPixels(picture.bitmap);
      case 'file':
        return this.#decodePhoto!(picture.bytes); // only a platform with a decoder catches files
    }
  }

  #loaded(): Engine {
    if (!this.#engine) throw new BitMarError('disposed', 'No model is loaded');
    return this.#engine;
  }

  /** Lets an abort get in. */
  async #stillWanted(id: number): Promise<void> {
    await messages();
    if (this.#active !== id) throw new BitMarError('aborted', 'The call was aborted');
  }
}

/** Takes the lock and never gives it back. False where the browser allows no locks: in sandboxed frames, say. */
function hold(lock: string): Promise<boolean> {
  return new Promise((resolve) => {
    const forEver = () => new Promise<void>(() => resolve(true));
    navigator.locks.request(lock, forEver).catch(() => resolve(false));
  });
}

/** The threads' workers load what this one has loaded already. One that has not answered by then, which Emscripten would wait for for ever, never will. */
const THREADS_PATIENCE_MS = 5000;

/** Compiled here, because Emscripten's own way turns every failure into an abort, or waits for ever. */
async function instantiate(createBitMar: CreateModule, wasm: Uint8Array, threads: number): Promise<EngineModule> {
  const compiled = await WebAssembly.compile(wasm as Uint8Array<ArrayBuffer>);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const started = new Promise<EngineModule>((resolve, reject) => {
    const instantiateWasm = (imports: WebAssembly.Imports, receive: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void) => {
      const received = (instance: WebAssembly.Instance) => {
        receive(instance, compiled);
        const late = () => reject(new BitMarError('worker_failed', 'The threads do not start'));
        if (threads > 1) timer = setTimeout(late, THREADS_PATIENCE_MS);
      };
      WebAssembly.instantiate(compiled, imports).then(received, reject);
      return {};
    };
    createBitMar({ instantiateWasm, threads }).then(resolve, reject);
  });
  return started.finally(() => clearTimeout(timer));
}

function begin(engine: Engine, image: RawPixels | Features | null, options: CaptionRequest['options']): void {
  if (!image) engine.beginText(options);
  else if ('data' in image) engine.beginPixels(image.data, image.width, image.height, options);
  else engine.beginFeatures(image.features, options);
}

function answerOf(engine: Engine, image: RawPixels | Features, question: string, options: AskRequest['options']): EngineAnswer {
  if ('data' in image) return engine.askPixels(image.data, image.width, image.height, question, options);
  return engine.askFeatures(image.features, question, options);
}

/** Resolves after the messages that have arrived were handled. A channel is not slowed to 4 ms as timers are. */
const channel: { port1: MessagePort & { ref?: () => void; unref?: () => void }; port2: MessagePort } = new MessageChannel();
let waiting: (() => void)[] = [];
channel.port1.onmessage = () => {
  const ready = waiting;
  waiting = [];
  channel.port1.unref?.(); // node: an idle channel keeps no process alive
  for (const resolve of ready) resolve();
};
channel.port1.unref?.();

function messages(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port1.ref?.();
    channel.port2.postMessage(null);
  });
}

/** The engine speaks of options by its own names. */
function inApiWords(message: string): string {
  return message.replace(/\b(max_tokens|num_beams|length_penalty|top_p|read_memory)\b/g, (name) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()));
}

/** The engine's errors carry their code. Anything else is a WebAssembly trap or a defect: the engine is not to be trusted. */
function codeOf(error: unknown, request: Request['type']): ErrorCode {
  const code = ERROR_CODES.find((known) => known === (error as { code?: unknown } | null)?.code);
  if (code) return code;
  // Emscripten's loader wraps what the platform refused to compile: "Aborted(CompileError: ...".
  if (/\b(CompileError|LinkError): /.test(String(error))) return 'unsupported_platform';
  // Embind's, of an argument that it cannot convert: the engine was not even called.
  if ((error as { name?: unknown } | null)?.name === 'BindingError') return 'invalid_argument';
  // JavaScript's own, of a value that is no number, say. While a module is loaded it means something else.
  if (error instanceof TypeError && request !== 'start' && request !== 'load') return 'invalid_argument';
  return error instanceof RangeError ? 'out_of_memory' : 'worker_failed';
}
