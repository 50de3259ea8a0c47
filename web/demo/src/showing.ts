// What is on the stage: a photo, the live picture, or nothing. Captions, names, questions and recollections are about that.

import type { Caption, Match, Source, Written } from 'bitmar';
import { ago } from './ago.js';
import type { CaptionLine } from './caption-line.js';
import { isUnreadable, type Captions } from './captions.js';
import { element } from './dom.js';
import type { Engine } from './engine.js';
import { frameOf } from './frame.js';
import { REMINDERS } from './how.js';
import type { Photo } from './photo.js';
import { text } from './text.js';
import * as view from './view.js';

/** That something was seen before is said only of what is older than this. */
const LONG_AGO_MS = 60_000;

const video = element<HTMLVideoElement>('video');

export class Showing {
  readonly #engine: Engine;
  readonly #captions: Captions;
  readonly #line: CaptionLine;
  #photo: Photo | undefined; // on the stage, or behind the live picture
  #source: Source | undefined;
  #captioning: AbortController | undefined;
  #recalling = 0; // the newest recollection wins
  /** A caption, and the photo's source; none while there is no caption of what is shown. */
  onCaption: (caption: Caption | undefined, source?: Source) => void = () => {};
  /** What the memory knows that looks like what is shown, the most similar first. */
  onMatches: (matches: readonly Match[]) => void = () => {};
  /** Another picture is on the stage, or none; the live one is no photo. */
  onChange: (photo: Photo | undefined) => void = () => {};

  constructor(engine: Engine, captions: Captions, line: CaptionLine) {
    this.#engine = engine;
    this.#captions = captions;
    this.#line = line;
  }

  /** What a name is given to and what is asked about; none where nothing is shown. Of a live picture it is the frame of that moment. */
  get source(): Source | undefined {
    return this.#source;
  }

  /** The photo on the stage, or behind the live picture. */
  get photo(): Photo | undefined {
    return this.#photo;
  }

  /** The photo to show from the next `showPhoto` on. */
  put(photo: Photo | undefined): void {
    this.#photo = photo;
  }

  /** The photo on the stage, with its caption: the first one, the one that was put there, or the one from before the camera. */
  async showPhoto(): Promise<void> {
    const photo = this.#photo;
    this.#captioning?.abort();
    const { signal } = (this.#captioning = new AbortController());
    this.#change(photo?.source, photo);
    if (!photo) return this.#showNothing();
    view.showPhoto(photo);
    this.#line.restart();
    try {
      const again = photo.caption !== undefined;
      const caption = await this.#captions.of(photo, signal);
      if (signal.aborted) return;
      this.#line.show(caption.text, caption.confidence);
      view.showTimings(caption.timings);
      this.onCaption(caption, photo.source);
      await this.recall(again ? undefined : caption.episode); // after it: the picture is encoded then, and the time shown is a caption's
    } catch (error) {
      if (!isUnreadable(error)) this.#engine.failed(error);
      if (signal.aborted) return;
      if (!isUnreadable(error)) return this.#line.clear();
      this.put(undefined);
      this.#change(undefined, undefined);
      this.#showNothing();
      view.notice(text('notReadable', { name: photo.name }));
    }
  }

  /** The live picture takes the stage; its captions are another's business. */
  showLive(): void {
    this.pause();
    this.#line.clear();
    this.#change(video, undefined);
    view.showStage('video');
    view.showRecalled('');
  }

  /** Another picture is to come: no caption of the photo any more. */
  pause(): void {
    this.#captioning?.abort();
  }

  /** What is shown, as a file. */
  async picture(): Promise<File | undefined> {
    if (this.#source === undefined) return undefined;
    return frameOf(this.#source === video ? video : element<HTMLImageElement>('photo'));
  }

  /** Says what the picture is called, or, once it is remembered as `episode`, when the same was seen before. */
  async recall(episode?: Written): Promise<void> {
    const turn = (this.#recalling += 1);
    const image = this.#source;
    if (image === undefined) return;
    try {
      const { matches, recognised } = await this.#engine.use((model) => model.memory.recall({ image, k: REMINDERS }));
      if (turn !== this.#recalling || image !== this.#source) return;
      this.onMatches(matches);
      const known = episode?.outcome === 'blended' ? matches.find(({ id }) => id === episode.id) : undefined;
      const again = known && Date.now() - known.createdMs > LONG_AGO_MS;
      view.showRecalled(recognised ? text('thisIs', { name: recognised.label }) : again ? text('seenBefore', { ago: ago(known.createdMs) }) : '');
    } catch {
      view.showRecalled(''); // what is wrong with the picture, its caption says
    }
  }

  #change(source: Source | undefined, photo: Photo | undefined): void {
    this.#source = source;
    this.onChange(photo);
    this.onCaption(undefined);
  }

  #showNothing(): void {
    this.#recalling += 1;
    this.#line.clear();
    view.showStage('nothing');
    view.showRecalled('');
    view.showTimings(undefined);
  }
}
