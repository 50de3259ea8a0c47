// The strip of samples.

import { element } from './dom.js';
import { text } from './text.js';

// The page opens on the first: one that the model is sure of and right about.
const SAMPLES = [
  ['cat', 'sampleCat'],
  ['coffee', 'sampleCoffee'],
  ['stairs', 'sampleStairs'],
  ['raccoon', 'sampleRaccoon'],
  ['astronaut', 'sampleAstronaut'],
  ['photographer', 'samplePhotographer'],
] as const;

export interface Sample {
  url: string;
  alt: string;
}

/** Fills the strip; the choice calls back. Returns the first sample. */
export function showSamples(onChoose: (sample: Sample) => void): Sample {
  const list = element('samples');
  const samples = SAMPLES.map(([name, alt]) => ({ url: `samples/${name}.jpg`, alt: text(alt) }));
  for (const sample of samples) {
    const button = document.createElement('button');
    button.type = 'button';
    button.disabled = true;
    button.dataset.url = sample.url;
    button.setAttribute('aria-pressed', 'false');
    const image = Object.assign(document.createElement('img'), { src: sample.url, alt: sample.alt, width: 96, height: 96 });
    button.append(image);
    button.addEventListener('click', () => onChoose(sample));
    const item = document.createElement('li');
    item.append(button);
    list.append(item);
  }
  return samples[0]!;
}

/** Marks the sample that is shown; none for any other picture. */
export function markSample(url: string | undefined): void {
  for (const button of element('samples').querySelectorAll('button')) {
    button.setAttribute('aria-pressed', String(button.dataset.url === url));
  }
}
