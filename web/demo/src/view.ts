// What the page shows. Knows nothing of models and cameras.

import type { Caption, ModelInfo, Progress } from 'bitmar';
import { element } from './dom.js';

/** Captions that are right less often than this are shown as doubtful. */
const UNSURE = 0.35;

const caption = element('caption');
const announce = element('announce');
const photo = element<HTMLImageElement>('photo');

/**
 * A streaming caption: pieces are added as they come. Where a new caption begins like the one before it, that part of the
 * line is left alone, so that a live caption does not flicker.
 */
export class CaptionLine {
  #next = 0; // the place of the next piece
  #heard = '';
  #heardAt = 0;

  /** The next piece starts a new caption; the old one stays, dimmed, until then. */
  restart(): void {
    this.#next = 0;
    caption.classList.add('stale');
  }

  add(piece: string): void {
    caption.classList.remove('stale', 'unsure');
    for (const word of piece.split(/(?<=\s)/)) this.#addWord(word);
  }

  /** The caption is complete. Screen readers hear it now; on a live picture at most once in three seconds. */
  finish(said: string, confidence: number | null): void {
    const unsure = confidence !== null && confidence < UNSURE;
    const text = unsure ? `Not sure: ${said}` : said;
    caption.classList.toggle('unsure', unsure);
    caption.classList.remove('stale');
    this.#cut();
    this.#next = 0;
    if (isLive() && (text === this.#heard || performance.now() - this.#heardAt < 3000)) return;
    this.#heard = text;
    this.#heardAt = performance.now();
    announce.textContent = text;
  }

  clear(): void {
    this.#next = 0;
    this.#cut();
    caption.classList.remove('stale');
  }

  #addWord(word: string): void {
    if (caption.children[this.#next]?.textContent !== word) {
      this.#cut();
      caption.append(Object.assign(document.createElement('span'), { textContent: word }));
    }
    this.#next += 1;
  }

  /** Drops what is left of the caption before. */
  #cut(): void {
    while (caption.children.length > this.#next) caption.lastElementChild?.remove();
  }
}

export function showPhoto(url: string, alt: string): void {
  photo.src = url;
  photo.alt = alt;
  element<HTMLImageElement>('backdrop').src = url;
  showStage('photo');
}

export function showStage(what: 'photo' | 'video'): void {
  const live = what === 'video';
  element('stage').dataset.show = what;
  element('video').hidden = !live;
  element('live').hidden = !live;
  photo.hidden = live;
  if (!live) element('flip').hidden = true;
  document.body.classList.toggle('is-live', live);
  element('figures-title').textContent = live ? 'Each frame takes' : 'This picture took';
  element('camera').setAttribute('aria-pressed', String(live));
  element('camera-label').textContent = live ? 'Stop camera' : 'Start camera';
}

/** Whether the stage belongs to the camera, be it that it is being started again. */
export function isLive(): boolean {
  return document.body.classList.contains('is-live');
}

export function showTimings({ visionMs, textMs }: Caption['timings']): void {
  showMs('vision-ms', visionMs);
  showMs('text-ms', textMs);
  showMs('total-ms', visionMs + textMs);
}

function showMs(id: string, ms: number): void {
  const unit = Object.assign(document.createElement('small'), { textContent: 'ms' });
  element(id).replaceChildren(ms.toFixed(ms < 10 ? 1 : 0), unit);
}

export function showProgress({ loaded, total }: Progress): void {
  const bar = element<HTMLProgressElement>('progress');
  const of = total === undefined ? '' : ` of ${megabytes(total)}`;
  element('loading-text').textContent = `Downloading the model: ${megabytes(loaded)}${of}`;
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

export function showModel(info: ModelInfo): void {
  const memory = Object.values(info.bytes).reduce((sum, bytes) => sum + bytes, 0);
  const using = memory ? `, ${megabytes(memory)} in use` : '';
  const threads = info.threads > 1 ? `, ${info.threads} threads` : '';
  element('model').textContent = `Model: ${megabytes(info.fileBytes)} downloaded${using}, ${info.kernels} kernels${threads}`;
}

export function enableControls(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('.controls button, .samples button, .remembering button')) button.disabled = false;
  for (const input of document.querySelectorAll<HTMLInputElement>('.remembering input')) input.disabled = false;
}

/** What the memory says of the picture; no text takes it away. */
export function showRecalled(text: string): void {
  element('recalls').hidden = !text;
  element('recalls').textContent = text;
}

/** A message that stays until the next one; with `retry`, a button that calls it. No text takes it away. */
export function notice(text: string, retry?: () => void): void {
  element('notice').hidden = !text;
  element('notice-text').textContent = text;
  const button = element<HTMLButtonElement>('retry');
  button.hidden = !retry;
  button.onclick = retry ?? null;
}

/** Says that there is a new version; the button calls `take`. */
export function offerUpdate(take: () => void): void {
  element('update').hidden = false;
  element('update-now').onclick = take;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
