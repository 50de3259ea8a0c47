// The worker's side of the memory: what the engine's functions make of a question.

import { BitMarError } from '../api/errors.js';
import type { Features, RawPixels } from '../api/types.js';
import type { Engine } from '../engine.js';
import type { MemoryCalls, MemoryQuestion } from './protocol.js';

type Image = RawPixels | Features | undefined;
type Answers = { [Name in keyof MemoryCalls]: (engine: Engine, question: MemoryCalls[Name][0], image: Image) => MemoryCalls[Name][1] };

const answers: Answers = {
  configure: (engine, { slots }) => (engine.memoryConfigure(slots), null),
  load: (engine, { snapshot, frames, shrink }) => engine.memoryLoad(snapshot, frames, shrink),
  adopt: (engine, { snapshot, shrink }) => engine.memoryAdopt(snapshot, shrink),
  merged: (engine, { snapshot, frames }) => engine.memoryMerged(snapshot, frames),
  restore(engine, { episode, text }, image) {
    const { data, width, height } = pixels(image);
    return engine.memoryRestorePixels(data, width, height, episode, text), null;
  },
  snapshot: (engine) => ({ bytes: engine.memorySnapshot(), sequence: engine.memoryStats().sequence }),
  changes: (engine, { since }) => ({ bytes: engine.memoryChanges(since), sequence: engine.memoryStats().sequence }),
  recall(engine, { text, k, minScore }, image) {
    const query = embed(engine, image, text);
    return { matches: engine.memoryRecall(query, k, minScore), recognised: engine.memoryRecognise(query) };
  },
  embed: (engine, { text }, image) => embed(engine, image, text),
  explain(engine, { text, options }, image) {
    const { data, width, height } = pixels(image);
    return engine.explainPixels(data, width, height, text, options);
  },
  score(engine, { prefix, continuations, end }, image) {
    if (!image) return engine.scoreText(prefix, continuations, end);
    const { data, width, height } = pixels(image);
    return engine.scorePixels(data, width, height, prefix, continuations, end);
  },
  teach(engine, { label, nowMs }, image) {
    const { data, width, height } = pixels(image);
    return engine.memoryTeachPixels(data, width, height, label, nowMs);
  },
  touch: (engine, { id, nowMs }) => (engine.memoryTouch(id, nowMs), null),
  label: (engine, { id, label }) => (engine.memoryLabel(id, label), null),
  forget: (engine, { id }) => engine.memoryForget(id),
  clear: (engine) => (engine.memoryClear(), null),
  list(engine, { limit, before }) {
    const older = engine.memoryList().filter(({ id }) => id < before);
    return older.sort((a, b) => b.id - a.id).slice(0, limit);
  },
  stats: (engine) => engine.memoryStats(),
};

/** `image`: what the question's picture shows. */
export function answer(engine: Engine, { name, question }: MemoryQuestion, image: Image): MemoryCalls[keyof MemoryCalls][1] {
  return (answers[name] as (engine: Engine, question: object, image: Image) => MemoryCalls[keyof MemoryCalls][1])(engine, question, image);
}

function embed(engine: Engine, image: Image, text: string | null): Float32Array {
  if (image) {
    const { data, width, height } = pixels(image);
    return engine.embedPixels(data, width, height, text);
  }
  if (text === null) throw new BitMarError('invalid_argument', 'An image or a text is needed, or both');
  return engine.embedText(text);
}

function pixels(image: Image): RawPixels {
  if (image && 'data' in image) return image;
  throw new BitMarError('invalid_argument', 'Features can be captioned and written; recall, teach, embed, explain and score need a picture');
}
