// "See how it works": what the model looked at, how likely its words are, what the memory has to do with them, and where the time goes.

import type { Caption, Match, Source } from 'bitmar';
import { Attention, bar, line } from './attention.js';
import { NUM_BEAMS } from './captions.js';
import { element } from './dom.js';
import type { Engine } from './engine.js';
import { drawTernary } from './ternary.js';
import { number, text } from './text.js';

/** As many as are looked for; those beyond are too unlike to be of interest. */
export const REMINDERS = 4;
/** A cosine below this is no likeness. */
const LEAST_LIKE = 0.3;

const panel = element<HTMLDetailsElement>('how');
const percent = (part: number) => number(part, 0, { style: 'percent', maximumSignificantDigits: 2 });
const ms = (value: number) => text('ms', { number: number(value, value < 10 ? 1 : 0) });

export class How {
  readonly #engine: Engine;
  #caption: Caption | undefined;
  #source: Source | undefined; // a photo's
  #matches: readonly Match[] = [];
  #urls: string[] = [];
  #turn = 0; // the newest drawing wins
  readonly #attention = new Attention();
  #looking: AbortController | undefined;

  constructor(engine: Engine) {
    this.#engine = engine;
    panel.addEventListener('toggle', () => this.#draw());
  }

  /** A caption; with `source`, of a photo, which can be looked at again. None: of what was shown nothing is left. */
  show(caption: Caption | undefined, source?: Source): void {
    this.#caption = caption;
    this.#source = source;
    if (!caption) this.#matches = []; // of a live picture they stay until the next
    this.#draw();
  }

  /** What the memory knows that looks like it, but for itself. */
  remind(matches: readonly Match[]): void {
    const own = this.#caption?.episode;
    this.#matches = matches.filter(({ id, similarity }) => similarity >= LEAST_LIKE && !(own?.id === id && own.outcome !== 'blended'));
    if (panel.open) void this.#drawReminders(this.#turn).catch(this.#engine.failed);
  }

  /** Nothing is computed or drawn while the panel is closed. */
  #draw(): void {
    const turn = (this.#turn += 1);
    this.#looking?.abort();
    this.#attention.clear();
    if (!panel.open) return;
    void drawTernary(import.meta.env.MODEL_FOLDER);
    element('how-parts').hidden = !this.#caption;
    if (!this.#caption) return;
    this.#drawTime(this.#caption);
    this.#drawWords(this.#caption);
    const { signal } = (this.#looking = new AbortController());
    Promise.all([this.#drawAttention(this.#caption, signal), this.#drawReminders(turn), this.#drawWithout(this.#caption, signal)]).catch(this.#engine.failed);
  }

  #drawTime({ timings: { visionMs, textMs, totalMs }, tokens }: Caption): void {
    const pieces = tokens.length + 1; // its end, too
    const parts = [
      ['rest', Math.max(0, totalMs - visionMs - textMs), text('howRest')],
      ['vision', visionMs, text('howVision')],
      ['text', textMs, text('howText', { count: pieces, each: ms(textMs / pieces) })],
    ] as const;
    element('how-bar').replaceChildren(...parts.map(([name, time]) => bar(name, time)));
    element('how-times').replaceChildren(
      ...parts.map(([name, time, words]) => line(bar(name), words, ms(time))),
    );
  }

  #drawWords({ logProbability, tokens, confidence, alternatives }: Caption): void {
    const lines = [text('howEach', { percent: percent(Math.exp(logProbability / (tokens.length + 1))) })];
    if (confidence !== null) lines.push(text('howRight', { percent: percent(confidence) }));
    element('how-words').textContent = lines.join(' ');
    element('how-others').hidden = alternatives.length === 0;
    element('how-alternatives').replaceChildren(...alternatives.map((other) => Object.assign(document.createElement('li'), { textContent: other.text })));
  }

  /** A live picture is another one by now. */
  async #drawAttention(caption: Caption, signal: AbortSignal): Promise<void> {
    const source = this.#source;
    element('how-live').hidden = source !== undefined;
    if (source) await this.#engine.use((model) => this.#attention.show(model, source, caption, signal));
  }

  /** What the model says of the same photo without its memory. */
  async #drawWithout({ text: said }: Caption, signal: AbortSignal): Promise<void> {
    const source = this.#source;
    const line = element('how-without');
    line.hidden = true;
    if (!source) return;
    const without = await this.#engine.use((model) => model.caption(source, { numBeams: NUM_BEAMS, readMemory: false, signal }));
    if (signal.aborted) return;
    line.hidden = false;
    line.textContent = without.text === said ? text('howSame') : text('howWithout', { caption: without.text });
  }

  async #drawReminders(turn: number): Promise<void> {
    const matches = this.#matches;
    const pictures = await Promise.all(matches.map(({ id }) => this.#engine.use((model) => model.memory.thumbnail(id))));
    if (turn !== this.#turn || matches !== this.#matches) return;
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
    element('how-none').hidden = matches.length > 0;
    element('how-reminders').replaceChildren(
      ...matches.map((match, i) => {
        const picture = pictures[i];
        const url = picture && URL.createObjectURL(picture);
        if (url) this.#urls.push(url);
        return reminder(match, url);
      }),
    );
  }
}

function reminder({ label, caption, similarity }: Match, url: string | undefined): HTMLLIElement {
  const item = document.createElement('li');
  const image = url ? Object.assign(document.createElement('img'), { src: url, alt: '' }) : document.createElement('span');
  image.className = 'thumb';
  const words = Object.assign(document.createElement('span'), { textContent: label ?? caption ?? text('something') });
  const like = Object.assign(document.createElement('strong'), { textContent: percent(similarity), title: text('howLike') });
  item.append(image, words, like);
  return item;
}
