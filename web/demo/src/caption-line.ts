// The caption over the picture.

import { element } from './dom.js';
import { text } from './text.js';
import { isLive } from './view.js';

/** Captions that are right less often than this are shown as doubtful. */
const UNSURE = 0.35;
/** Screen readers hear captions of a live picture at most this often. */
const LEAST_PAUSE_MS = 3000;

const caption = element('caption');
const announce = element('announce');

/** Where a new caption begins like the one before it, that part of the line is left alone, so that a live caption does not flicker. */
export class CaptionLine {
  #heardAt = -Infinity;
  /** Of a new caption, or '' of none. */
  onSaid: (said: string) => void = () => {};

  /** A new caption is on its way; the old one stays, dimmed, until then. */
  restart(): void {
    caption.classList.add('stale');
  }

  show(said: string, confidence: number | null): void {
    const unsure = confidence !== null && confidence < UNSURE;
    const before = unsure ? `${text('notSure')} ` : '';
    const line = before + said;
    caption.classList.remove('stale');
    caption.classList.toggle('unsure', unsure);
    this.#words(said);
    caption.dataset.before = before;
    this.onSaid(line);
    if (isLive() && (line === announce.textContent || performance.now() - this.#heardAt < LEAST_PAUSE_MS)) return;
    this.#heardAt = performance.now();
    announce.textContent = line;
  }

  clear(): void {
    caption.classList.remove('stale', 'unsure');
    this.#words('');
    announce.textContent = '';
    this.onSaid('');
  }

  #words(said: string): void {
    const words = said ? said.split(/(?<=\s)/) : [];
    let same = 0;
    while (same < words.length && caption.children[same]?.textContent === words[same]) same += 1;
    while (caption.children.length > same) caption.lastElementChild?.remove();
    for (const word of words.slice(same)) caption.append(Object.assign(document.createElement('span'), { textContent: word }));
  }
}
