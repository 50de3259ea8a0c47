// The frames of a video as they are due, and what becomes of it: hidden, muted, paused, ended.

import type { BitMar } from './bitmar.js';
import { aborted, isAborted } from './errors.js';
import { pause } from './pause.js';
import type { Caption, VideoOptions, WatchOptions, WatchState } from './types.js';
import type { WatchControl } from './watch.js';

/** Events after which a video may be in another state. */
const VIDEO_EVENTS = ['play', 'playing', 'pause', 'ended', 'emptied', 'loadstart', 'loadeddata', 'resize'];
const TRACK_EVENTS = ['mute', 'unmute', 'ended'];

/** No event tells of a camera that the page itself has stopped. */
const LOOK_MS = 500;

/** How often a frame is compared with the last one, at most. */
const COMPARE_MS = 100;
/** The side of the miniatures that are compared. */
const SIDE = 16;

class Frames {
  readonly #video: HTMLVideoElement;
  readonly #control: WatchControl;
  readonly #interval: number;
  readonly #minChange: number;
  #tracks: MediaStreamTrack[] = [];
  #began = -Infinity;
  #shown: Uint8ClampedArray | undefined; // the miniature of the last frame that was captioned

  constructor(video: HTMLVideoElement, control: WatchControl, { interval, minChange }: VideoOptions) {
    this.#video = video;
    this.#control = control;
    this.#interval = interval ?? 0;
    this.#minChange = minChange ?? 0;
    const { signal } = control;
    for (const name of VIDEO_EVENTS) video.addEventListener(name, this.#look, { signal });
    document.addEventListener('visibilitychange', this.#look, { signal });
    control.look = this.#look;
    const timer = setInterval(this.#look, LOOK_MS);
    signal.addEventListener('abort', () => {
      clearInterval(timer);
      this.#listenTo([]);
    });
    this.#look();
  }

  /** Resolves when a frame is due; with false when there will be none. `last`: the end of the video is one. */
  async next(last: boolean): Promise<boolean> {
    const { signal } = this.#control;
    const passed = Math.max(0, performance.now() - this.#began); // less than nothing: the clock was set back
    await pause(this.#interval - passed, signal);
    for (;;) {
      await nextFrame(this.#video, this.#control, last);
      if (signal.aborted || this.#control.state !== 'running') return false;
      if (this.#hasChanged()) break;
      await pause(COMPARE_MS, signal);
    }
    this.#began = performance.now();
    return true;
  }

  readonly #look = (): void => {
    const { srcObject } = this.#video;
    this.#listenTo(srcObject && 'getVideoTracks' in srcObject ? srcObject.getVideoTracks() : []);
    this.#control.become(this.#state());
  };

  #state(): WatchState {
    const video = this.#video;
    if (this.#control.paused) return 'paused';
    if (video.ended || (this.#tracks.length > 0 && this.#tracks.every(({ readyState }) => readyState === 'ended'))) return 'ended';
    if (this.#tracks.some(({ muted }) => muted)) return 'muted';
    if (document.hidden) return 'hidden';
    if (video.paused) return 'paused';
    return video.videoWidth > 0 && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA ? 'running' : 'waiting';
  }

  /** The camera's, which may be another one by now. */
  #listenTo(tracks: MediaStreamTrack[]): void {
    if (tracks.length === this.#tracks.length && tracks.every((track, i) => track === this.#tracks[i])) return;
    for (const name of TRACK_EVENTS) {
      for (const track of this.#tracks) track.removeEventListener(name, this.#look);
      for (const track of tracks) track.addEventListener(name, this.#look);
    }
    this.#tracks = tracks;
  }

  #hasChanged(): boolean {
    if (!this.#minChange) return true;
    const now = readFrame(this.#video, SIDE, SIDE)?.data;
    const before = this.#shown;
    if (now && before && difference(now, before) < this.#minChange) return false;
    this.#shown = now;
    return true;
  }
}

/** 0: the same; 1: black and white. */
function difference(a: Uint8ClampedArray, b: Uint8ClampedArray): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += Math.abs(a[i]! - b[i]!); // alpha is always the same
  return sum / (255 * 3 * SIDE * SIDE);
}

/** The loop of `watch()`. Frames that come while a caption is computed are never queued: the next caption takes whichever is newest then. */
export async function watchFrames(model: BitMar, video: HTMLVideoElement, options: WatchOptions, control: WatchControl): Promise<void> {
  const { onCaption, onFrame, onError: _, onState: __, interval: ___, minChange: ____, ...captionOptions } = options;
  const { signal } = control;
  const frames = new Frames(video, control, options);
  while (await frames.next(false)) {
    const frame = onFrame ? readFrame(video, video.videoWidth, video.videoHeight) : undefined;
    if (frame) onFrame?.(frame);
    const caption = await model.caption(frame ?? video, { ...captionOptions, signal });
    if (signal.aborted) return;
    onCaption(caption, frame);
  }
}

/** The generator of `captions()`: whoever asks for the next one gets that of the newest frame then. */
export async function* captionFrames(model: BitMar, video: HTMLVideoElement, options: VideoOptions, control: WatchControl): AsyncGenerator<Caption, void, void> {
  const { signal, onState: _, interval: __, minChange: ___, ...captionOptions } = options;
  const frames = new Frames(video, control, options);
  try {
    while (await frames.next(true)) yield await model.caption(video, { ...captionOptions, signal: control.signal });
    if (isAborted(signal ?? undefined)) throw aborted(signal ?? undefined);
  } catch (error) {
    control.fail(error);
  } finally {
    control.stop();
  }
  if (control.failure) throw control.failure.error;
}

/** Resolves when the video shows a new frame to a visible page, or when stopped; where there is a `last` frame, at the end too. */
function nextFrame(video: HTMLVideoElement, control: WatchControl, last: boolean): Promise<void> {
  const { signal } = control;
  if (signal.aborted || (last && control.state === 'ended')) return Promise.resolve();
  return new Promise((resolve) => {
    const usesVideoFrames = 'requestVideoFrameCallback' in video;
    const request = (): number => (usesVideoFrames ? video.requestVideoFrameCallback(check) : requestAnimationFrame(check));
    const check = () => {
      control.look();
      if (control.state === 'running') done();
      else if (!signal.aborted) handle = request();
    };
    const done = () => {
      signal.removeEventListener('abort', cancel);
      control.onEnded = () => {};
      resolve();
    };
    const cancel = () => {
      if (usesVideoFrames) video.cancelVideoFrameCallback(handle);
      else cancelAnimationFrame(handle);
      done();
    };
    let handle = request();
    signal.addEventListener('abort', cancel);
    if (last) control.onEnded = cancel; // no frame comes after it
  });
}

function readFrame(video: HTMLVideoElement, width: number, height: number): ImageData | undefined {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context?.drawImage(video, 0, 0, width, height);
  return context?.getImageData(0, 0, width, height);
}
