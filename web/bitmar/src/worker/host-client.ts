// The caller's side of the protocol: numbers the calls, keeps them in order, and matches the answers.

import { checkSignal, reading, wrong } from '../api/check.js';
import { aborted, BitMarError, disposed, isAborted, messageOf } from '../api/errors.js';
import { guarded } from '../api/events.js';
import { demand } from '../api/on-demand.js';
import type { Answer, Caption, LoadOptions } from '../api/types.js';
import type { EngineAskOptions, EngineOptions } from '../engine.js';
import type { Written } from '../memory/types.js';
import { FOREIGN_PICTURE, isReadable } from '../platform/pixels.js';
import { platform } from '../platform/platform.js';
import type { Port } from '../platform/platform.js';
import type { CaptionRequest, LoadRequest, MemoryCalls, MemoryCopy, MemoryQuestion, Picture, Reply, Request, StartRequest } from './protocol.js';

type Started = Extract<Reply, { type: 'started' }>;
type Loaded = Extract<Reply, { type: 'loaded' }>;
type Done = Extract<Reply, { type: 'done' }>;
type Remembered = Extract<Reply, { type: 'remembered' }>;
type Answered = Extract<Reply, { type: 'answered' }>;
type Response = Started | Loaded | Done | Answered | Remembered;

/** Calls that change the memory: only the host knows whether an abort came in time. */
const CHANGES: ReadonlySet<keyof MemoryCalls> = new Set(['teach', 'touch', 'label', 'forget', 'clear', 'adopt', 'restore']);

/** A worker that has not let go of an aborted call by then is replaced. */
const PATIENCE_MS = 1000;

/** A worker that has not started by then never will; its threads have less time (host.ts). */
const START_PATIENCE_MS = 10_000;

interface Call {
  request: Exclude<Request, { type: 'abort' }>;
  transfer: ArrayBuffer[] | ImageBitmap[];
  signal: AbortSignal | undefined;
  onToken: ((piece: string) => void) | undefined;
  onStart: () => void;
  resolve(reply: Response): void;
  reject(error: unknown): void;
}

type Module = Omit<StartRequest, 'type' | 'id' | 'lifeline' | 'replaceable'>;

/** What another worker needs to go on where one was stopped. */
interface Belongings {
  readonly files: Omit<LoadRequest, 'type' | 'id'>;
  /** As it was after the last call; undefined as long as nobody asked it anything. */
  memory: { slots: number; snapshot: Uint8Array; frames: Uint8Array[] } | undefined;
}

export class HostClient {
  readonly #options: LoadOptions;
  readonly #module: Module;
  #belongings: Belongings | undefined; // not of a host in this thread, which nothing stops
  #port: Port | undefined;
  #running: Call | undefined; // with the host
  #queue: Call[] = [];
  #patience: ReturnType<typeof setTimeout> | undefined;
  #dead: BitMarError | undefined;
  #nextId = 1;

  private constructor(options: LoadOptions, module: Module) {
    this.#options = options;
    this.#module = module;
  }

  /** A host with the engine's module in it. */
  static async start(options: LoadOptions, module: Module): Promise<HostClient> {
    const client = new HostClient(options, module);
    if (options.worker === false) {
      const { hostHere } = await demand('hostHere');
      const host = hostHere((message) => client.#receive(message), platform().decodePhoto);
      client.#port = { post: (request) => host.receive(request), close: () => host.close(), keepAlive() {} };
    } else {
      client.#startWorker();
    }
    // A file that is no worker of ours, because a bundler or a server changed it, never answers.
    const late = () => client.#die(new BitMarError('worker_failed', 'The worker does not answer'));
    const timer = options.worker === false ? undefined : setTimeout(late, START_PATIENCE_MS);
    try {
      const { held } = (await client.#call(client.#startRequest(), [], undefined, options.signal, () => {})) as Started;
      if (held) client.#port?.holdsLifeline?.();
    } catch (error) {
      client.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return client;
  }

  async load(files: Belongings['files'], signal: AbortSignal | undefined): Promise<Loaded> {
    const replaceable = this.#options.worker !== false;
    const request = { type: 'load', id: this.#nextId++, ...files } as const;
    const loaded = (await this.#call(request, [], undefined, signal, () => {})) as Loaded;
    if (replaceable) this.#belongings = { files, memory: undefined };
    return loaded;
  }

  async caption(
    picture: Picture | null,
    options: EngineOptions,
    remember: CaptionRequest['remember'],
    onToken: ((piece: string) => void) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ caption: Caption; written: Written | null }> {
    let started = 0;
    const request = { type: 'caption', id: this.#nextId++, picture, options, remember } as const;
    const done = (await this.#call(request, picture ? transferOf(picture) : [], onToken, signal, () => (started = performance.now()))) as Done;
    const { text, tokens, logProbability, confidence, alternatives, visionMs, textMs, written } = done;
    return { caption: { text, tokens, logProbability, confidence, alternatives, timings: { visionMs, textMs, totalMs: performance.now() - started } }, written };
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
    this.#die(disposed());
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
      const refuse = (error: unknown) => {
        discard(transfer);
        reject(error);
      };
      const refused = this.#dead ?? (isAborted(signal) ? aborted(signal) : undefined);
      if (refused) return refuse(refused);
      // After the caller has its answer, and whatever the signal does: it may be no AbortSignal but look like one.
      const letGo = () => guarded(() => signal?.removeEventListener('abort', onAbort), (error) => platform().report(error));
      const onAbort = () => this.#abort(call);
      const call: Call = {
        request,
        transfer,
        signal,
        onToken,
        onStart,
        resolve: (reply) => {
          resolve(reply);
          letGo();
        },
        reject: (error) => {
          reject(error);
          letGo();
        },
      };
      this.#queue.push(call);
      try {
        reading('signal', () => signal?.addEventListener('abort', onAbort, { once: true }));
      } catch (error) {
        this.#queue = this.#queue.filter((other) => other !== call);
        return refuse(error);
      }
      if (!this.#running) this.#sendNext();
    });
  }

  /** Hands the next call to the host. One whose message cannot be posted is the caller's affair alone: the one behind it has its turn. */
  #sendNext(): void {
    for (let call = this.#queue.shift(); call; call = this.#queue.shift()) {
      this.#running = call;
      try {
        call.onStart();
        this.#port?.keepAlive(true);
        this.#port?.post(call.request, call.transfer);
        return;
      } catch (error) {
        this.#running = undefined;
        call.reject(unpostable(call, error));
        discard(call.transfer);
      }
    }
    this.#port?.keepAlive(false);
  }

  /** The caller hears at once. A waiting call just goes; the running one keeps its place until the host has let go of it. */
  #abort(call: Call): void {
    const running = call === this.#running;
    if (!running || !changesMemory(call.request)) call.reject(aborted(call.signal));
    call.onToken = undefined;
    if (running) return this.#stopRunning();
    discard(call.transfer);
    this.#queue = this.#queue.filter((other) => other !== call);
  }

  #stopRunning(): void {
    this.#port?.post({ type: 'abort', id: this.#running!.request.id }, []);
    if (!this.#belongings || this.#patience !== undefined) return;
    this.#patience = setTimeout(() => this.#replaceWorker(), PATIENCE_MS);
  }

  /** The running call goes with its worker. Another worker gets the same model and the memory as it was before that call, and then the calls that wait. */
  #replaceWorker(): void {
    const { files, memory } = this.#belongings!;
    this.#running!.reject(aborted(this.#running!.signal));
    this.#ended();
    this.#port?.close();
    try {
      this.#startWorker();
    } catch (error) {
      return this.#die(error as BitMarError);
    }
    const port = this.#port;
    const again = (request: Call['request'], resolve: Call['resolve'] = () => {}): Call => ({
      request,
      transfer: [], // copied: they may be needed once more
      signal: undefined,
      onToken: undefined,
      onStart: () => {},
      resolve,
      reject: (error) => this.#die(new BitMarError('worker_failed', `The worker was stopped, and no other could take its place: ${messageOf(error)}`, { cause: error })),
    });
    const recall = (call: MemoryQuestion) => again({ type: 'memory', id: this.#nextId++, call });
    this.#queue.unshift(
      again(this.#startRequest(), (reply) => (reply as Started).held && port?.holdsLifeline?.()),
      again({ type: 'load', id: this.#nextId++, ...files }),
    );
    if (memory) {
      const { slots, snapshot, frames } = memory;
      this.#queue.splice(2, 0, recall({ name: 'configure', question: { slots } }), recall({ name: 'load', question: { snapshot, frames, shrink: false } }));
    }
    this.#sendNext();
  }

  /** May throw. What a worker says that was replaced is not heard. */
  #startWorker(): void {
    const ifOurs = <Argument>(use: (argument: Argument) => void) => (argument: Argument) => port === this.#port && use(argument);
    const events = { reply: ifOurs((message: Reply) => this.#receive(message)), failed: ifOurs((error: BitMarError) => this.#die(error)) };
    const port: Port = platform().startWorker(events, this.#module.build, this.#options.workerUrl);
    this.#port = port;
  }

  #startRequest(): StartRequest {
    return { type: 'start', id: this.#nextId++, ...this.#module, lifeline: this.#port?.lifeline, replaceable: this.#options.worker !== false };
  }

  #receive(reply: Reply): void {
    const call = this.#running;
    if (!call || call.request.id !== reply.id) return;
    if (reply.type === 'token') return this.#tell(call, reply.piece);
    if (reply.type === 'error') {
      const error = new BitMarError(reply.code, reply.message);
      if (reply.code === 'worker_failed') return this.#die(error); // its state is unknown
      call.reject(error);
    } else {
      if ('copy' in reply && reply.copy) this.#keep(reply.copy);
      call.resolve(reply);
    }
    this.#ended();
    this.#sendNext();
  }

  /** The host has nothing to do. */
  #ended(): void {
    this.#running = undefined;
    clearTimeout(this.#patience);
    this.#patience = undefined;
  }

  #keep(copy: MemoryCopy): void {
    if (!this.#belongings) return;
    if ('frame' in copy) this.#belongings.memory?.frames.push(copy.frame);
    else this.#belongings.memory = { ...copy, frames: [] };
  }

  /** What the caller's function throws ends the caller's call, and nothing else. */
  #tell(call: Call, piece: string): void {
    const { onToken } = call;
    if (!onToken) return;
    guarded(
      () => onToken(piece),
      (error) => {
        if (call !== this.#running || call.onToken !== onToken) return platform().report(error); // the call has ended
        call.onToken = undefined;
        call.reject(error);
        this.#stopRunning();
      },
    );
  }

  #die(error: BitMarError): void {
    if (this.#dead) return;
    this.#dead = error;
    this.#port?.close();
    this.#port = undefined;
    const running = this.#running;
    this.#ended();
    running?.reject(error);
    for (const call of this.#queue.splice(0)) {
      discard(call.transfer);
      call.reject(error);
    }
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
