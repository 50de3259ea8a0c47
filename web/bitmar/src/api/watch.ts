// What a watch is to its caller; the work is in video.ts, imported when something is watched.

import { platform } from '../platform/platform.js';
import type { BitMar } from './bitmar.js';
import { checkFunction, checkNumber, checkOptions, isObject, isSet, unlike } from './check.js';
import { BitMarError } from './errors.js';
import { LONGEST_TIMER_MS } from './limits.js';
import { demand } from './on-demand.js';
import { anyOf, disposable } from './signals.js';
import type { Caption, VideoOptions, Watch, WatchOptions, WatchState } from './types.js';

/** What the caller has to say, and the video's state. */
export class WatchControl {
  readonly controller = new AbortController();
  readonly #onState: VideoOptions['onState'];
  state: WatchState = 'waiting';
  paused = false;
  /** What `onState` threw. */
  failure: { error: unknown } | undefined;
  /** Looks at the video again. */
  look = (): void => {};
  /** The video has ended. */
  onEnded: () => unknown = () => {};

  constructor({ signal, onState }: VideoOptions) {
    this.#onState = onState;
    anyOf(signal, this.controller);
    this.signal.addEventListener('abort', () => this.become('stopped'));
    if (this.signal.aborted) this.state = 'stopped';
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  become(state: WatchState): void {
    if (this.state === state || this.state === 'stopped') return;
    this.state = state;
    try {
      this.#onState?.(state);
    } catch (error) {
      this.fail(error);
    }
    if (state === 'ended') this.onEnded();
  }

  fail(error: unknown): void {
    this.failure ??= { error };
    this.stop();
  }

  stop(): void {
    this.controller.abort();
  }
}

export function watch(model: BitMar, video: HTMLVideoElement, options: WatchOptions): Watch {
  checkOptions(options, 'watch');
  checkFunction('onCaption', options.onCaption);
  checkWatch(video, options, 'watch');
  const control = new WatchControl(options);
  const setPaused = (paused: boolean) => {
    control.paused = paused;
    if (paused) control.become('paused');
    else control.look();
  };
  const ended = demand('video').then(({ watchFrames }) => watchFrames(model, video, options, control));
  void ended
    .catch((error: unknown) => {
      if (!control.signal.aborted) control.fail(error);
    })
    .then(() => {
      if (!control.failure) return;
      const { error } = control.failure;
      if (options.onError) options.onError(error);
      else platform().report(error);
    });
  const watch: Omit<Watch, typeof Symbol.dispose> = {
    get state() {
      return control.state;
    },
    pause: () => setPaused(true),
    resume: () => setPaused(false),
    stop: () => control.stop(),
  };
  return disposable(watch, () => control.stop()) as Watch;
}

export async function* captions(model: BitMar, video: HTMLVideoElement, options: VideoOptions): AsyncGenerator<Caption, void, void> {
  checkWatch(video, options, 'captions');
  const { captionFrames } = await demand('video');
  yield* captionFrames(model, video, options, new WatchControl(options));
}

function checkWatch(video: HTMLVideoElement, options: VideoOptions, method: string): void {
  checkOptions(options, method);
  const { interval, minChange } = options;
  if (interval !== undefined) checkNumber('interval', interval, 0, LONGEST_TIMER_MS);
  if (isSet(minChange)) checkNumber('minChange', minChange, 0, 1);
  if (typeof document === 'undefined') throw new BitMarError('unsupported_platform', `${method}() is for pages: there are no videos here`);
  if (!isObject(video) || !('videoWidth' in video)) throw unlike('What is watched', 'a video element', video);
}
