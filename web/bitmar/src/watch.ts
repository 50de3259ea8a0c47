import type { BitMar } from './bitmar.js';
import { checkFunction, checkNumber, checkOptions, isObject, LONGEST_TIMER_MS, reading, unlike } from './check.js';
import { BitMarError, isAborted, reasonOf } from './errors.js';
import { pause } from './pause.js';
import { platform } from './platform.js';
import type { Watch, WatchOptions } from './types.js';

/** Frames that come while a caption is computed are never queued: the next caption takes whichever frame is newest then. */
export function watch(model: BitMar, video: HTMLVideoElement, options: WatchOptions): Watch {
  checkWatch(video, options);
  const { onCaption, onFrame, onError, interval = 0, signal, ...captionOptions } = options;
  const stopped = new AbortController();
  const stop = () => stopped.abort(reasonOf(signal));
  if (isAborted(signal)) stop();
  reading('signal', () => signal?.addEventListener('abort', stop, { once: true, signal: stopped.signal }));

  async function run(): Promise<void> {
    for (;;) {
      const began = performance.now();
      await nextFrame(video, stopped.signal);
      if (stopped.signal.aborted) return;
      const frame = onFrame ? readFrame(video) : undefined;
      if (frame) onFrame?.(frame);
      const caption = await model.caption(frame ?? video, { ...captionOptions, signal: stopped.signal });
      if (stopped.signal.aborted) return;
      onCaption(caption, frame);
      const passed = Math.max(0, performance.now() - began); // less than nothing: the clock was set back
      await pause(interval - passed, stopped.signal);
    }
  }

  run().catch((error: unknown) => {
    if (stopped.signal.aborted) return;
    stop();
    if (onError) onError(error);
    else platform().report(error);
  });
  return { stop };
}

function checkWatch(video: HTMLVideoElement, options: WatchOptions): void {
  checkOptions(options, 'watch');
  const { onCaption, interval = 0 } = options;
  checkFunction('onCaption', onCaption);
  checkNumber('interval', interval, 0, LONGEST_TIMER_MS);
  if (typeof document === 'undefined') throw new BitMarError('unsupported_platform', 'watch() is for pages: there are no videos here');
  if (!isObject(video) || !('videoWidth' in video)) throw unlike('What is watched', 'a video element', video);
}

/** Resolves when the video shows a new frame to a visible page, or when stopped. */
function nextFrame(video: HTMLVideoElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const usesVideoFrames = 'requestVideoFrameCallback' in video;
    const request = (): number => (usesVideoFrames ? video.requestVideoFrameCallback(check) : requestAnimationFrame(check));
    const check = () => {
      const shown = !document.hidden && video.videoWidth > 0 && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
      if (shown) done();
      else handle = request();
    };
    const done = () => {
      signal.removeEventListener('abort', cancel);
      resolve();
    };
    const cancel = () => {
      if (usesVideoFrames) video.cancelVideoFrameCallback(handle);
      else cancelAnimationFrame(handle);
      done();
    };
    let handle = request();
    signal.addEventListener('abort', cancel);
  });
}

function readFrame(video: HTMLVideoElement): ImageData | undefined {
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context?.drawImage(video, 0, 0, width, height);
  return context?.getImageData(0, 0, width, height);
}
