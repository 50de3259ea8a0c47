/// <reference lib="esnext.disposable" preserve="true" />
import { loadSession } from '../load/load.js';
import { platform } from '../platform/platform.js';
import { checkBoolean, checkImageOrText, checkOptions, checkText, isObject, isSet, textsOf, unlike } from './check.js';
import { engineAskOptions, engineCompleteOptions, engineOptions } from './engine-options.js';
import { aborted, isAborted } from './errors.js';
import { MOST_READ_BYTES } from './limits.js';
import { Memory } from './memory.js';
import { demand } from './on-demand.js';
import type { Session } from './session.js';
import { anyOf, disposable } from './signals.js';
import type {
  Answer,
  AskOptions,
  Caption,
  Captioned,
  CaptionOptions,
  CompleteOptions,
  Completion,
  EmbedQuery,
  ExplainOptions,
  Explanation,
  LoadOptions,
  ModelAddresses,
  ModelFiles,
  ModelInfo,
  Score,
  ScoreOptions,
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
  readonly #session: Session;

  private constructor(session: Session, info: ModelInfo) {
    this.#session = session;
    this.info = info;
    this.memory = Memory.of(session);
  }

  /**
   * The default model, that of the package `bitmar-model`; or another one, from the address of its folder (in node also a path), the
   * addresses of its files, or the files themselves.
   */
  static async load(model?: string | URL | ModelAddresses | ModelFiles, options: LoadOptions = {}): Promise<BitMar> {
    const { session, info } = await loadSession(model, options);
    return new BitMar(session, info);
  }

  /** The caption of a picture as it is at the moment of the call. */
  async caption(source: Source, options: CaptionOptions = {}): Promise<Caption> {
    checkOptions(options, 'caption');
    return this.#session.caption(source, options);
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
    return this.#session.host.ask(picture, question, checked, signal);
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
   * Continues a text, which may be empty, after a picture if there is one. It is for captions with a given beginning, and for models of language.
   * The prefix is read as it stands, with its spaces; a continuation that begins another word begins with a space. Beyond the decoder's window the
   * model sees the text's first and last tokens.
   *
   *     const { text } = await model.complete('a close up of', { image: photo });
   */
  async complete(prefix: string, options: CompleteOptions = {}): Promise<Completion> {
    checkOptions(options, 'complete');
    const { image, signal, onToken } = options;
    if (isAborted(signal)) throw aborted(signal);
    const checked = engineCompleteOptions(prefix, options);
    const picture = isSet(image) ? await platform().capture(image!, signal) : null;
    const { caption } = await this.#session.host.caption(picture, checked, null, onToken, signal);
    const { text, tokens, logProbability, timings } = caption;
    return { text, tokens, logProbability, timings };
  }

  /**
   * How likely each text is after a prefix, which may be empty, and after a picture if there is one. Texts are read in lower case, with all their
   * spaces: what goes on with another word begins with a space, what begins a caption does not. What is computed of the prefix is shared.
   *
   *     const [cat, dog] = await model.score('a', [' cat', ' dog'], { image: photo });
   */
  async score(prefix: string, continuations: readonly string[], options: ScoreOptions = {}): Promise<Score[]> {
    checkOptions(options, 'score');
    const { image, signal, end = false } = options;
    if (isAborted(signal)) throw aborted(signal);
    checkText('prefix', prefix, MOST_READ_BYTES);
    const texts = textsOf('continuations', continuations);
    checkBoolean('end', end);
    const picture = isSet(image) ? await platform().capture(image!, signal) : null;
    return this.#session.host.memory('score', { picture, prefix, continuations: texts, end }, signal);
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
    return this.#session.host.memory('embed', { picture, text: text ?? null }, signal);
  }

  /**
   * How a text comes about as the caption of a picture: what the model looks at for each word, what it expects of the picture, and what the
   * memory gives. Of a caption, with the `prompt` and the `readMemory` that it had; or of any other text. The memory is read as it is now: of a
   * caption that was remembered, `withoutEpisode` leaves its own episode out.
   *
   *     const { text } = await model.caption(photo);
   *     const { words } = await model.explain(photo, text);
   */
  async explain(source: Source, text: string, options: ExplainOptions = {}): Promise<Explanation> {
    checkOptions(options, 'explain');
    return this.#session.explain(source, text, options);
  }

  /** As `dispose()`, for `using model = await BitMar.load()`. Only where the platform knows `Symbol.dispose`. */
  declare readonly [Symbol.dispose]: () => void;

  /** Frees everything. Pending and later calls reject with the code 'disposed'. Changes of the memory that wait to be saved are lost. */
  dispose(): void {
    this.#session.close();
  }
}

disposable(BitMar.prototype, function () {
  this.dispose();
});
