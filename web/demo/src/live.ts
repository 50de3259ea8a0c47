// The live picture and the model: captions of it, its frames a second, and frames that are kept.

import type { Watch } from 'bitmar';
import { NUM_BEAMS } from './captions.js';
import type { CaptionLine } from './caption-line.js';
import type { Camera, CameraState, Wanted } from './camera.js';
import { element } from './dom.js';
import type { Engine } from './engine.js';
import { frameOf } from './frame.js';
import { ownPhoto, type Photo } from './photo.js';
import type { Showing } from './showing.js';
import { text } from './text.js';
import * as view from './view.js';

/** Captions come faster than anyone reads: on a live picture one starts at most this often. */
const INTERVAL_MS = 600;
/** The rate is that of so many frames. */
const COUNTED = 8;

const video = element<HTMLVideoElement>('video');
const remember = element<HTMLInputElement>('remember');

/** A live picture that goes on when the visitor says so, and its frame on the stage. */
interface Frozen {
  readonly wanted: Wanted;
  readonly photo: Photo;
}

export class Live {
  readonly #engine: Engine;
  readonly #camera: Camera;
  readonly #showing: Showing;
  readonly #line: CaptionLine;
  #watching: Watch | undefined;
  #frozen: Frozen | undefined;
  #resumed = false; // and the button that did it is gone
  #times: number[] = [];
  /** A frame is kept, to be shown now or only among the others. */
  onKept: (photo: Photo, show: boolean) => void = () => {};

  constructor(engine: Engine, camera: Camera, showing: Showing, line: CaptionLine) {
    this.#engine = engine;
    this.#camera = camera;
    this.#showing = showing;
    this.#line = line;
    remember.addEventListener('change', () => {
      if (this.#watching) this.#watch();
    });
    element('freeze').addEventListener('click', () => void this.#keep(true).catch(engine.failed));
    element('snapshot').addEventListener('click', () => void this.#keep(false).catch(engine.failed));
    element('resume').addEventListener('click', () => {
      if (!this.#frozen || !engine.model) return;
      this.#resumed = true;
      camera.start(this.#frozen.wanted);
    });
  }

  /** The camera is in another state. */
  enter(state: CameraState): void {
    this.#unwatch();
    const seen = state.is === 'live' && !state.muted;
    for (const id of ['freeze', 'snapshot']) element(id).hidden = !seen;
    if (seen && this.#resumed) element('freeze').focus();
    if (state.is !== 'starting') this.#resumed = false;
    if (seen) this.#watch();
    else if (view.isLive()) this.#line.clear(); // it was of the picture that is gone
  }

  /** That photo is on the stage, or none. */
  shown(photo: Photo | undefined): void {
    if (photo !== this.#frozen?.photo) this.#setFrozen(undefined);
  }

  #watch(): void {
    this.#unwatch();
    this.#watching = this.#engine.model?.watch(video, {
      interval: INTERVAL_MS,
      numBeams: NUM_BEAMS,
      writeMemory: remember.checked,
      thumbnail: true,
      onCaption: (caption) => {
        this.#showing.onCaption(caption);
        void this.#showing.recall(caption.episode);
        this.#line.show(caption.text, caption.confidence);
        view.showTimings(caption.timings);
        this.#count();
      },
      onError: this.#engine.failed,
    });
  }

  #unwatch(): void {
    this.#watching?.stop();
    this.#watching = undefined;
    this.#times = [];
    view.showRate(undefined);
  }

  #count(): void {
    this.#times = [...this.#times, performance.now()].slice(-COUNTED);
    const passed = this.#times.at(-1)! - this.#times[0]!;
    if (passed > 0) view.showRate((1000 * (this.#times.length - 1)) / passed);
  }

  /** The frame of this moment, as a photo. To freeze is to look at it with the camera off, so that none is on without its picture. */
  async #keep(freeze: boolean): Promise<void> {
    const { state } = this.#camera;
    if (state.is !== 'live' || state.muted) return;
    if (freeze) video.pause();
    const photo = ownPhoto(await frameOf(video), text('ownFrame'), video.classList.contains('mirrored'));
    if (freeze && this.#camera.state !== state) return URL.revokeObjectURL(photo.url); // stopped meanwhile, or another camera
    this.onKept(photo, freeze);
    if (!freeze) return view.say(text('kept'));
    this.#setFrozen({ wanted: state.wanted, photo });
    element('resume').focus(); // the other button is gone
  }

  #setFrozen(frozen: Frozen | undefined): void {
    this.#frozen = frozen;
    element('resume').hidden = !frozen;
  }
}
