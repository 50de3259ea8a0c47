// What the model looked at: its attention over the picture, word by word, the words that it expected, and its memory's part.

import type { BitMar, Caption, ExplainedWord, Explanation, Source } from 'bitmar';
import { element } from './dom.js';
import { number, text } from './text.js';

/** The most that is drawn of the picture, in pixels a side. */
const LARGEST_SIDE = 640;
/** How dark it is where the model looks least. */
const DARKEST = 0.82;
/** A memory has room for more than anyone could tell apart. */
const MOST_DOTS = 240;
/** An expected word below this is hardly expected. */
const LEAST_EXPECTED = 0.05;
/** Shorter ones are beginnings of words, mostly. */
const SHORTEST = 3;

const canvas = element<HTMLCanvasElement>('how-picture');
const chips = element('how-chips');
const photo = element<HTMLImageElement>('photo');
const percent = (part: number) => number(part, 0, { style: 'percent', maximumSignificantDigits: 2 });

export class Attention {
  #picture: HTMLCanvasElement | undefined;
  #told: Explanation | undefined;

  constructor() {
    chips.addEventListener('click', ({ target }) => this.#choose(indexOf(target)));
    chips.addEventListener('pointerover', ({ target }) => this.#choose(indexOf(target)));
    chips.addEventListener('focusin', ({ target }) => this.#choose(indexOf(target)));
    chips.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      (chips.children[indexOf(event.target) + step] as HTMLElement | undefined)?.focus();
    });
  }

  clear(): void {
    this.#picture = this.#told = undefined;
    for (const id of ['how-looked', 'how-expected-part', 'how-slots-part']) element(id).hidden = true;
  }

  /** The caption of the photo on the stage, whose source is given. Nothing is drawn once `signal` is aborted. */
  async show(model: BitMar, source: Source, { text: said, episode }: Caption, signal: AbortSignal): Promise<void> {
    // What was remembered with the caption was not there when it was found. (An explanation is short: it is not aborted, only not shown.)
    const told = await model.explain(source, said, { withoutEpisode: episode?.outcome === 'blended' ? undefined : episode?.id });
    if (signal.aborted) return;
    const episodes = told.memory.length > 0 ? (await model.memory.stats()).occupied : 0;
    await photo.decode().catch(() => {}); // what cannot be shown is not drawn
    if (signal.aborted) return;
    this.clear();
    this.#told = told;
    this.#picture = smallOf(photo);
    canvas.classList.toggle('mirrored', photo.classList.contains('mirrored'));
    Object.assign(canvas, { width: this.#picture.width, height: this.#picture.height });
    chips.replaceChildren(...told.words.map((word) => Object.assign(document.createElement('button'), { type: 'button', textContent: word.text })));
    element('how-looked').hidden = told.words.length === 0;
    this.#choose(mostTelling(told.words));
    this.#drawExpected(told);
    this.#drawMemory(told, episodes);
  }

  #choose(index: number): void {
    const word = this.#told?.words[index];
    if (!word) return;
    for (const [i, chip] of [...chips.children].entries()) chip.setAttribute('aria-pressed', String(i === index));
    this.#drawPicture(word, this.#told!.side);
    const seen = word.patches.reduce((sum, share) => sum + share, 0);
    const parts: [string, number, string][] = [
      ['vision', seen, text('howToPicture')],
      ['text', word.before, text('howToWords')],
      ['rest', word.prompt, text('howToPrompt')],
      ['memory', word.memory, text('howToMemory')],
    ];
    const there = parts.filter(([, share]) => share > 0);
    element('how-chance').textContent = text('howChance', { word: word.text, percent: percent(word.probability) });
    element('how-attention-bar').replaceChildren(...there.map(([name, share]) => bar(name, share)));
    element('how-attention').replaceChildren(...there.map(([name, share, words]) => line(bar(name), words, percent(share))));
  }

  /** The picture, the darker the less was looked at. */
  #drawPicture({ patches }: ExplainedWord, side: number): void {
    const context = canvas.getContext('2d')!;
    const veil = canvasOf(side, side);
    const image = new ImageData(side, side);
    const [least, most] = [Math.min(...patches), Math.max(...patches)];
    patches.forEach((share, i) => image.data.set([0, 0, 0, Math.round((255 * DARKEST * (most - share)) / (most - least || 1))], 4 * i));
    veil.getContext('2d')!.putImageData(image, 0, 0);
    context.drawImage(this.#picture!, 0, 0);
    context.imageSmoothingQuality = 'high';
    const { width, height } = canvas;
    context.drawImage(veil, 0, 0, side, side, 0, 0, width, height);
  }

  #drawExpected({ expected }: Explanation): void {
    const likely = expected.filter(({ text: word, probability }) => probability >= LEAST_EXPECTED && word.length >= SHORTEST).sort((a, b) => b.probability - a.probability);
    element('how-expected-part').hidden = likely.length === 0;
    element('how-expected').replaceChildren(
      ...likely.map(({ text: word, probability }) => {
        const scale = document.createElement('span');
        scale.className = 'how-bar';
        scale.append(bar('vision', probability), bar('none', 1 - probability));
        return line(Object.assign(document.createElement('span'), { textContent: word }), scale, percent(probability));
      }),
    );
  }

  #drawMemory({ memory }: Explanation, episodes: number): void {
    element('how-slots-part').hidden = memory.length === 0;
    const most = memory[0]?.share ?? 1;
    const lit = memory.slice(0, MOST_DOTS).map(({ share }) => dot(share / most));
    const dark = Array.from({ length: Math.max(0, Math.min(episodes, MOST_DOTS) - lit.length) }, () => dot(0));
    element('how-slots').replaceChildren(...lit, ...dark);
    element('how-read').textContent = text('howRead', { count: memory.length, all: number(episodes), percent: percent(most) });
  }
}

/** The word that looked at the picture most unevenly: it shows best what this is about. */
function mostTelling(words: readonly ExplainedWord[]): number {
  const peaks = words.map(({ patches }) => Math.max(...patches));
  return peaks.indexOf(Math.max(...peaks));
}

function indexOf(target: EventTarget | null): number {
  return [...chips.children].indexOf(target as Element);
}

/** A copy of what an image shows now, no larger than is needed. */
function smallOf(image: HTMLImageElement): HTMLCanvasElement {
  const { naturalWidth, naturalHeight } = image;
  const scale = Math.min(1, LARGEST_SIDE / Math.max(naturalWidth, naturalHeight));
  const small = canvasOf(Math.max(1, Math.round(scale * naturalWidth)), Math.max(1, Math.round(scale * naturalHeight)));
  const context = small.getContext('2d')!;
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#fff'; // as the model sees what is transparent
  context.fillRect(0, 0, small.width, small.height);
  context.drawImage(image, 0, 0, small.width, small.height);
  return small;
}

function canvasOf(width: number, height: number): HTMLCanvasElement {
  return Object.assign(document.createElement('canvas'), { width, height });
}

/** With `size`, that much of a bar; else a sample of its colour. */
export function bar(name: string, size?: number): HTMLElement {
  const part = Object.assign(document.createElement('span'), { className: `how-${name}` });
  if (size !== undefined) part.style.flexGrow = String(size);
  return part;
}

/** A line of a list: what it is about, words, and a number. */
export function line(first: Element, words: string | Element, last: string): HTMLLIElement {
  const item = document.createElement('li');
  const middle = typeof words === 'string' ? Object.assign(document.createElement('span'), { textContent: words }) : words;
  item.append(first, middle, Object.assign(document.createElement('strong'), { textContent: last }));
  return item;
}

function dot(light: number): HTMLElement {
  const part = document.createElement('span');
  part.style.setProperty('--light', light.toFixed(3));
  return part;
}
