// The caller's side of the protocol: numbers the calls, keeps them in order, and matches the answers.

import { checkSignal, wrong } from './check.js';
import type { EngineAskOptions, EngineOptions } from './engine.js';
import { aborted, BitMarError, messageOf } from './errors.js';
import { guarded } from './events.js';
import { FOREIGN_PICTURE, isReadable } from './pixels.js';
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
  static async start(options: LoadOptions, module: Omit<StartRequest, 'type' | 'id' | 'lifeline'>): Promise<HostClient> {
    const client = new HostClient();
    const reply = (message: Reply) => client.#receive(message);
    if (options.worker === false) {
      const { Host } = await import('./host.js');
      const host = new Host(reply, platform().decodePhoto);
      client.#port = { post: (request) => host.receive(request), close: () => host.close(), keepAlive() {} };
    } else {
      client.#port = platform().startWorker({ reply, failed: (error) => client.#die(error) }, options.workerUrl);
    }
    const request = { type: 'start', id: client.#nextId++, ...module, lifeline: client.#port.lifeline } as const;
    try {
      const { held } = (await client.#call(request, [], undefined, options.signal, () => {})) as Started;
      if (held) client.#port?.holdsLifeline?.();
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

  async #call(
    request: Call['request'],
    transfer: Call['transfer'],
    onToken: Call['onToken'],
    signal: AbortSignal | undefined,
    onStart: () => void,
  ): Promise<Response> {
    checkSignal(signal);
    return new Promise((resolve, reject) => {
      const refused = this.#dead ?? (signal?.aborted ? aborted(signal) : undefined);
      if (refused) {
        discard(transfer);
        return reject(refused);
      }
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
      if (this.#queue.length === 1) this.#sendFirst();
    });
  }

  /** Hands the first call to the host. One whose message cannot be posted is the caller's affair alone: the next one has its turn. */
  #sendFirst(): void {
    for (let call = this.#queue[0]; call; call = this.#queue[0]) {
      try {
        call.onStart();
        this.#port?.keepAlive(true);
        this.#port?.post(call.request, call.transfer);
        return;
      } catch (error) {
        call.reject(unpostable(call, error));
        discard(call.transfer);
        this.#queue.shift();
      }
    }
    this.#port?.keepAlive(false);
  }

  /** The caller hears at once. A waiting call just goes; the running one keeps its place until the host has let go of it. */
  #abort(call: Call, signal: AbortSignal): void {
    const running = call === this.#queue[0];
    if (!running || !changesMemory(call.request)) call.reject(aborted(signal));
    call.onToken = undefined;
    if (running) return this.#stopFirst();
    discard(call.transfer);
    this.#queue = this.#queue.filter((other) => other !== call);
  }

  #stopFirst(): void {
    this.#port?.post({ type: 'abort', id: this.#queue[0]!.request.id }, []);
  }

  #receive(reply: Reply): void {
    const call = this.#queue[0];
    if (!call || call.request.id !== reply.id) return;
    if (reply.type === 'token') return this.#tell(call, reply.piece);
    if (reply.type === 'error') {
      const error = new BitMarError(reply.code, reply.message);
      if (reply.code === 'worker_failed') return this.#die(error); // its state is unknown
      call.reject(error);
    } else {
      call.resolve(reply);
    }
    this.#queue.shift();
    this.#sendFirst();
  }

  /** What the caller's function throws ends the caller's call, and nothing else. */
  #tell(call: Call, piece: string): void {
    const { onToken } = call;
    if (!onToken) return;
    guarded(
      () => onToken(piece),
      (error) => {
        if (call !== this.#queue[0] || call.onToken !== onToken) return platform().report(error); // the call has ended
        call.onToken = undefined;
        call.reject(error);
        this.#stopFirst();
      },
    );
  }

  #die(error: BitMarError): void {
    if (this.#dead) return;
    this.#dead = error;
    this.#port?.close();
    this.#port = undefined;
    const [, ...waiting] = this.#queue;
    for (const { transfer } of waiting) discard(transfer);
    for (const call of this.#queue) call.reject(error);
    this.#queue = [];
  }
}

/** Why the platform would not send a call's message. */
function unpostable({ transfer }: Call, cause: unknown): BitMarError {
  if (cause instanceof BitMarError) return cause;
  for (const part of transfer) {
    if ('close' in part && !isReadable(part)) {
      return new BitMarError('invalid_image', FOREIGN_PICTURE, { cause });
    }
  }
  return wrong(`An argument cannot be sent to the worker: ${messageOf(cause)}`, cause);
}

/** A picture that nobody will look at: bitmaps hold memory that the garbage collector does not see. */
function discard(transfer: Call['transfer']): void {
  for (const part of transfer) if ('close' in part) part.close();
}

function changesMemory(request: Call['request']): boolean {
  if (request.type === 'caption') return request.remember !== null;
  return request.type === 'memory' && CHANGES.has(request.call.name);
}

/** What has to go well before the picture can be sent; where it does not, nobody will look at the picture. */
export async function beforeSending<Result>(picture: Picture, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    discard(transferOf(picture));
    throw error;
  }
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
