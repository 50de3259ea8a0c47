// The arithmetic of long_text.mjs.
import { mean } from './figures.mjs';

/** Means of so many values each; what is left at the end is left out. */
export function meansOf(values, each) {
  return Array.from({ length: Math.floor(values.length / each) }, (_, i) => mean(values.slice(i * each, (i + 1) * each)));
}

/**
 * Where each token of a text begins in its bytes, the text's length last, and the tokens that begin a word: text that is cut there has the same
 * tokens. A byte-level vocabulary has a character for each byte, and Ġ for a space.
 */
export function offsetsOf(tokens, vocabulary) {
  const names = new Map(Object.entries(vocabulary).map(([name, id]) => [id, name]));
  const offsets = [0];
  const begins = [];
  for (const [i, token] of tokens.entries()) {
    const name = names.get(token);
    if (/^Ġ[a-z]/.test(name)) begins.push(i);
    offsets.push(offsets[i] + [...name].length);
  }
  return { begins, offsets };
}

/** So many places of those after `from`, evenly through all of them */
export function sampled(places, from, count) {
  const able = places.filter((place) => place > from);
  const step = Math.max(1, able.length / count);
  return Array.from({ length: Math.min(count, able.length) }, (_, i) => able[Math.floor(i * step)]);
}
