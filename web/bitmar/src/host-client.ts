// The caller's side of the protocol: numbers the calls, keeps them in order, and matches the answers.

import type { EngineAskOptions, EngineOptions } from './engine.js';
import { aborted, BitMarError } from './errors.js';
import { platform } from './platform.js';
import type { Port } from './platform.js';
import type { Written } from './memory-types.js';
import type { CaptionRequest, LoadRequest, MemoryCalls, MemoryQuestion, Picture, Reply, Request, StartRequest } from './protocol.js';
import type { Answer, Caption, LoadOptions } from './types.js';

type Started = Extract<Reply, { type: 'started' }>;
type Loaded = Extract<Reply, { type: 'loaded' }>;
type Done = Extract<Reply, { type: 'done' }>;
type Remembered = Extract<Reply, { type: 'remembered' }>;
type Answered = Extract<Reply, { type: 'answered' }>;
type Response = Started | Loaded | Done | Answered | Remembered;

/** Calls that change the memory: only the host knows whether an abort came in time. */
const CHANGES: ReadonlySet<keyof MemoryCalls> = new Set(['teach', 'touch', 'label', 'forget', 'clear', 'adopt', 'restore']);

interface Call {
  request: Exclude<Request, { type: 'abort' }>;
  transfer: ArrayBuffer[] | ImageBitmap[];
  onToken: ((piece: string) => void) | undefined;
  onStart: () => void;
  resolve(reply: Response): void;
  reject(error: unknown): void;
}

export class HostClient {
  #port: Port | undefined;
  #queue: Call[] = []; // the first is with the host, the others wait
  #dead: BitMarError | undefined;
  #nextId = 1;

  /** A host with the engine's module in it. */
  static async start(options: LoadOptions, module: Omit<StartRequest, 'type' | 'id'>): Promise<HostClient> {
    const client = new HostClient();
    const reply = (message: Reply) => client.#receive(message);
    if (options.worker === false) {
      const { Host } = await import('./host.js');
      const host = new Host(reply, platform().decodePhoto);
      client.#port = { post: (request) => host.receive(request), close: () => host.close(), keepAlive() {} };
    } else {
      client.#port = platform().startWorker({ reply, failed: (error) => client.#die(error) }, options.workerUrl);
    }
    const request = { type: 'start', id: client.#nextId++, ...module } as const;
    try {
      await client.#call(request, [], undefined, options.signal, () => {});
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  async load(files: Omit<LoadRequest, 'type' | 'id'>, signal: AbortSignal | undefined): Promise<Loaded> {
    const request = { type: 'load', id: this.#nextId++, ...files } as const;
    return (await this.#call(request, [files.weights.buffer as ArrayBuffer], undefined, signal, () => {})) as Loaded;
  }

  async caption(
    picture: Picture,
    options: EngineOptions,
    remember: CaptionRequest['remember'],
    onToken: ((piece: string) => void) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ caption: Caption; written: Written | null }> {
    let started = 0;
    const request = { type: 'caption', id: this.#nextId++, picture, options, remember } as const;
    const done = (await this.#call(request, transferOf(picture), onToken, signal, () => (started = performance.now()))) as Done;
    const { text, tokens, logProbability, confidence, visionMs, textMs, written } = done;
    return { caption: { text, tokens, logProbability, confidence, timings: { visionMs, textMs, totalMs: performance.now() - started } }, written };
  }

  async ask(picture: Picture, question: string, options: EngineAskOptions, signal: AbortSignal | undefined): Promise<Answer> {
    let started = 0;
    const request = { type: 'ask', id: this.#nextId++, picture, question, options } as const;
    const reply = (await this.#call(request, transferOf(picture), undefined, signal, () => (started = performance.now()))) as Answered;
    const { answer, declined, confidence, tokens, logProbability, visionMs, textMs } = reply;
    return { answer, declined, confidence, tokens, logProbability, timings: { visionMs, textMs, totalMs: performance.now() - started } };
  }

  /** Asks the memory. */
  async memory<Name extends keyof MemoryCalls>(name: Name, question: MemoryCalls[Name][0], signal?: AbortSignal): Promise<MemoryCalls[Name][1]> {
    const picture = 'picture' in question ? question.picture : null;
    const request = { type: 'memory', id: this.#nextId++, call: { name, question } as MemoryQuestion } as const;
    const reply = (await this.#call(request, picture ? transferOf(picture) : [], undefined, signal, () => {})) as Remembered;
    return reply.answer as MemoryCalls[Name][1];
  }

  close(): void {
    this.#die(new BitMarError('disposed', 'The model was disposed of'));
  }

  #call(
    request: Call['request'],
    transfer: Call['transfer'],
    onToken: Call['onToken'],
    signal: AbortSignal | undefined,
    onStart: () => void,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (this.#dead) return reject(this.#dead);
      if (signal?.aborted) return reject(aborted(signal));
      const onAbort = () => this.#abort(call, signal!);
      const call: Call = {
        request,
        transfer,
        onToken,
        onStart,
        resolve: (reply) => {
          signal?.removeEventListener('abort', onAbort);
          resolve(reply);
        },
        reject: (error) => {
          signal?.removeEventListener('abort', onAbort);
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#queue.push(call);
      if (this.#queue.length === 1) this.#send(call);
    });
  }

  #send(call: Call): void {
    call.onStart();
    this.#port?.keepAlive(true);
    this.#port?.post(call.request, call.transfer);
  }

  /** The caller hears at once. A waiting call just goes; the running one keeps its place until the host has let go of it. */
  #abort(call: Call, signal: AbortSignal): void {
    const running = call === this.#queue[0];
    if (!running || !changesMemory(call.request)) call.reject(aborted(signal));
    call.onToken = undefined;
    if (running) this.#port?.post({ type: 'abort', id: call.request.id }, []);
    else this.#queue = this.#queue.filter((other) => other !== call);
  }

  #receive(reply: Reply): void {
    const call = this.#queue[0];
    if (!call || call.request.id !== reply.id) return;
    if (reply.type === 'token') return call.onToken?.(reply.piece);
    if (reply.type === 'error') {
      const error = new BitMarError(reply.code, reply.message);
      if (reply.code === 'worker_failed') return this.#die(error); // its state is unknown
      call.reject(error);
    } else {
      call.resolve(reply);
    }
    this.#queue.shift();
    const next = this.#queue[0];
    if (next) this.#send(next);
    else this.#port?.keepAlive(false);
  }

  #die(error: BitMarError): void {
    if (this.#dead) return;
    this.#dead = error;
    this.#port?.close();
    this.#port = undefined;
    for (const call of this.#queue) call.reject(error);
    this.#queue = [];
  }
}

function changesMemory(request: Call['request']): boolean {
  if (request.type === 'caption') return request.remember !== null;
  return request.type === 'memory' && CHANGES.has(request.call.name);
}

function transferOf(picture: Picture): ArrayBuffer[] | ImageBitmap[] {
  switch (picture.kind) {
    case 'bitmap':
      return [picture.bitmap];
    case 'pixels':
      return [picture.data.buffer as ArrayBuffer];
    case 'file':
      return [picture.bytes.buffer as ArrayBuffer];
    case 'features':
      return [picture.features.buffer as ArrayBuffer];
  }
}
