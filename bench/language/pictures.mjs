// What a model knows of pictures: whether a caption fits one better than the same caption with words exchanged (like SugarCrepe, arXiv 2306.14610, and
// VALSE, arXiv 2112.07566; made here from the captions of people, of validation photos alone), and answers to questions.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';

/** Words of a class; another of the class makes a caption wrong where the first was right. */
const CLASSES = {
  colour: ['red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'orange', 'pink', 'purple'],
  number: ['two', 'three', 'four', 'five'],
  thing: ['dog', 'cat', 'horse', 'bird', 'cow', 'sheep', 'elephant', 'car', 'bus', 'train', 'bicycle', 'motorcycle', 'boat', 'airplane', 'pizza', 'cake', 'sandwich', 'laptop', 'phone', 'clock', 'chair', 'couch', 'bed', 'toilet', 'ball', 'umbrella', 'surfboard', 'skateboard'],
  person: ['man', 'woman', 'boy', 'girl'],
  place: ['grass', 'snow', 'water', 'beach', 'street', 'kitchen', 'bathroom', 'bedroom', 'field', 'forest', 'sand', 'table'],
};

/** 0 to 1, of a text alone. */
const draw = (text) => createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32;

/** A caption with one word exchanged for another of its class, or with two words of one class in each other's place; none where that cannot be done. */
export function foilsOf(caption) {
  const words = caption.toLowerCase().replace(/[.\s]+$/, '').split(/\s+/);
  const foils = [];
  for (const [kind, members] of Object.entries(CLASSES)) {
    const at = words.flatMap((word, i) => (members.includes(word) ? [i] : []));
    if (at.length === 0) continue;
    const place = at[Math.floor(draw(`${caption} ${kind} place`) * at.length)];
    const others = members.filter((word) => !words.includes(word));
    const other = others[Math.floor(draw(`${caption} ${kind}`) * others.length)];
    foils.push({ kind, caption: words.join(' '), foil: words.with(place, other).join(' ') });
    const [first, second] = at.filter((i, nth) => at.findIndex((j) => words[j] === words[i]) === nth);
    if (second !== undefined) foils.push({ kind: 'swap', caption: words.join(' '), foil: words.with(first, words[second]).with(second, words[first]).join(' ') });
  }
  return foils;
}

/** Validation photos of what bitmar.prepare made. */
export async function* validationPhotos(folder) {
  for await (const line of createInterface({ input: createReadStream(`${folder}/photos.jsonl`) })) {
    const photo = JSON.parse(line);
    if (photo.split === 'val') yield photo;
  }
}

export async function fileOf({ file, offset, bytes }) {
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(bytes), 0, bytes, offset);
    return new Uint8Array(buffer);
  } finally {
    await handle.close();
  }
}

const SMALL = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(' ');
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');

function numberWord(word) {
  if (!/^\d{1,2}$/.test(word)) return word;
  const number = Number(word);
  if (number < 20) return SMALL[number];
  return TENS[Math.floor(number / 10) - 2] + (number % 10 ? `-${SMALL[number % 10]}` : '');
}

/** As answers are compared (models/bitmar/data/texts.py): lower case, digits as words, without articles and final punctuation. */
export function normalised(answer) {
  const words = answer.toLowerCase().trim().replace(/[.,;:!?]+$/, '').split(/\s+/).map(numberWord);
  const rest = words.filter((word) => !['a', 'an', 'the'].includes(word));
  return (rest.length ? rest : words).join(' ');
}
