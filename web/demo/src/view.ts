// What the page shows of what the other parts tell it.

import type { Caption, ModelInfo, Progress } from 'bitmar';
import type { CameraState } from './camera.js';
import { element } from './dom.js';
import { leaveFullScreen } from './full-screen.js';
import type { Photo } from './photo.js';
import { megabytes, number, text } from './text.js';

/** So long what was done is said. */
const SAID_MS = 2200;

const photo = element<HTMLImageElement>('photo');
let saying: ReturnType<typeof setTimeout> | undefined;

export function showPhoto({ url, alt, mirrored }: Pick<Photo, 'url' | 'alt' | 'mirrored'>): void {
  photo.src = url;
  photo.alt = alt;
  photo.classList.toggle('mirrored', mirrored);
  element<HTMLImageElement>('backdrop').src = url;
  showStage('photo');
}

export function showStage(what: 'photo' | 'video' | 'nothing'): void {
  const live = what === 'video';
  element('stage').dataset.show = what;
  element('video').hidden = !live;
  photo.hidden = what !== 'photo';
  element('nothing').hidden = what !== 'nothing';
  element<HTMLButtonElement>('save-picture').disabled = what === 'nothing';
  if (what === 'nothing') for (const image of [photo, element('backdrop')]) image.removeAttribute('src');
  document.body.classList.toggle('is-live', live);
  element('figures-title').textContent = text(live ? 'frameTakes' : 'pictureTook');
}

/** Whether the live picture has the stage, be it that another camera is being started. */
export function isLive(): boolean {
  return document.body.classList.contains('is-live');
}

/** The tag on the stage says what the camera does. */
export function showCamera(state: CameraState): void {
  const muted = state.is === 'live' && state.muted;
  element('live').hidden = state.is === 'off';
  element('live').dataset.state = muted ? 'muted' : state.is;
  element('live-text').textContent = text(muted ? 'muted' : state.is === 'starting' ? 'starting' : 'live');
}

export function showTimings(timings: Caption['timings'] | undefined): void {
  showMs('vision-ms', timings?.visionMs);
  showMs('text-ms', timings?.textMs);
  showMs('total-ms', timings && timings.visionMs + timings.textMs);
}

function showMs(id: string, ms: number | undefined): void {
  if (ms === undefined) return element(id).replaceChildren('–');
  const unit = Object.assign(document.createElement('small'), { textContent: 'ms' });
  element(id).replaceChildren(number(ms, ms < 10 ? 1 : 0), unit);
}

/** Frames a second of a live picture that get a caption; of others there is no such thing. */
export function showRate(rate: number | undefined): void {
  element('rate-cell').hidden = rate === undefined;
  if (rate !== undefined) element('rate').textContent = number(rate, 1);
}

export function showProgress({ loaded, total }: Progress): void {
  const bar = element<HTMLProgressElement>('progress');
  const [some, all] = [megabytes(loaded), megabytes(total ?? 0)];
  element('loading-text').textContent = total === undefined ? text('downloading', { loaded: some }) : text('downloadingOf', { loaded: some, total: all });
  if (total === undefined) {
    bar.removeAttribute('value');
  } else {
    bar.max = total;
    bar.value = loaded;
  }
}

export function showLoading(loading: boolean): void {
  element('loading').hidden = !loading;
}

export function showModel({ bytes, fileBytes, kernels, threads }: ModelInfo): void {
  const inUse = Object.values(bytes).reduce((sum, each) => sum + each, 0);
  const parts = [text('modelDownloaded', { size: megabytes(fileBytes) })];
  if (inUse) parts.push(text('modelInUse', { size: megabytes(inUse) }));
  parts.push(text('modelKernels', { name: kernels }));
  if (threads > 1) parts.push(text('modelThreads', { count: threads }));
  element('model').textContent = text('model', { parts: parts.join(', ') });
}

export function enableControls(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('.controls button, .samples button, .remembering button')) button.disabled = false;
  for (const input of document.querySelectorAll<HTMLInputElement>('.remembering input')) input.disabled = false;
}

/** What the memory says of the picture; no text takes it away. */
export function showRecalled(words: string): void {
  element('recalls').hidden = !words;
  element('recalls').textContent = words;
}

/** A message that stays until the next one; with `retry`, a button that calls it. No text takes it away. */
export function notice(words: string, retry?: () => void): void {
  element('notice').hidden = !words;
  element('notice-text').textContent = words;
  const button = element<HTMLButtonElement>('retry');
  button.hidden = !retry;
  button.onclick = retry ?? null;
  if (words) leaveFullScreen(); // it is beside the stage
}

/** That something is done: for a moment, over the picture. */
export function say(words: string): void {
  clearTimeout(saying);
  element('did').textContent = words;
  saying = setTimeout(() => (element('did').textContent = ''), SAID_MS);
}

/** Says that there is a new version; the button calls `take`. */
export function offerUpdate(take: () => void): void {
  element('update').hidden = false;
  element('update-now').onclick = take;
}
