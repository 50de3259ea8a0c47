// Scorers without skill, so that nobody mistakes chance for skill: one that finds all words equally likely, and one that knows pairs of words.

export const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}']+|[^\s\p{L}\p{N}]/gu) ?? [];

const bytesOf = (text) => Buffer.byteLength(text);

/** Every word has the same chance: the fewest words win. */
export function uniform(vocabulary = 10_000) {
  return ([, continuation]) => {
    const tokens = wordsOf(continuation).length;
    return { logProbability: -tokens * Math.log(vocabulary), tokens, bytes: bytesOf(continuation) };
  };
}

/** Pairs of words, counted in `lines`, mixed with single words and a word that was never seen (Jelinek and Mercer 1980). */
export function bigram(lines, shares = { pair: 0.7, single: 0.29, unseen: 0.01 }) {
  const singles = new Map();
  const pairs = new Map();
  let total = 0;
  for (const line of lines) {
    let before = '';
    for (const word of wordsOf(line)) {
      singles.set(word, (singles.get(word) ?? 0) + 1);
      let after = pairs.get(before);
      if (!after) pairs.set(before, (after = new Map([['', 0]])));
      after.set(word, (after.get(word) ?? 0) + 1);
      after.set('', after.get('') + 1); // all that follow
      total += 1;
      before = word;
    }
  }
  const unseen = 1 / (singles.size + 1);
  return ([prefix, continuation]) => {
    let before = wordsOf(prefix).at(-1) ?? '';
    let logProbability = 0;
    const words = wordsOf(continuation);
    for (const word of words) {
      const after = pairs.get(before);
      const pair = after ? (after.get(word) ?? 0) / after.get('') : 0;
      logProbability += Math.log(shares.pair * pair + (shares.single * (singles.get(word) ?? 0)) / total + shares.unseen * unseen);
      before = word;
    }
    return { logProbability, tokens: Math.max(1, words.length), bytes: bytesOf(continuation) };
  };
}
