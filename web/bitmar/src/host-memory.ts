// The worker's side of the memory: what the engine's functions make of a question.

import type { Engine } from './engine.js';
import { BitMarError } from './errors.js';
import type { Written } from './memory-types.js';
import { readPixels } from './pixels.js';
import type { MemoryCalls, MemoryQuestion, Picture } from './protocol.js';

type Answers = { [Name in keyof MemoryCalls]: (engine: Engine, question: MemoryCalls[Name][0]) => MemoryCalls[Name][1] };

const answers: Answers = {
  configure: (engine, { slots }) => (engine.memoryConfigure(slots), null),
  load: (engine, { snapshot, frames }) => engine.memoryLoad(snapshot, frames),
  adopt: (engine, { snapshot }) => engine.memoryAdopt(snapshot),
  snapshot: (engine) => ({ bytes: engine.memorySnapshot(), sequence: engine.memoryStats().sequence }),
  changes: (engine, { since }) => ({ bytes: engine.memoryChanges(since), sequence: engine.memoryStats().sequence }),
  recall(engine, { picture, text, k, minScore }) {
    const query = embed(engine, picture, text);
    return { matches: engine.memoryRecall(query, k, minScore), recognised: engine.memoryRecognise(query) };
  },
  teach: (engine, { picture, label, nowMs }) => teach(engine, picture, label, nowMs),
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

export function answer(engine: Engine, { name, question }: MemoryQuestion): MemoryCalls[keyof MemoryCalls][1] {
  return (answers[name] as (engine: Engine, question: object) => MemoryCalls[keyof MemoryCalls][1])(engine, question);
}

function embed(engine: Engine, picture: Picture | null, text: string | null): Float32Array {
  switch (picture?.kind) {
    case 'pixels':
      return engine.embedPixels(picture.data, picture.width, picture.height, text);
    case 'file':
      return engine.embedFile(picture.bytes, text);
    case 'features':
      throw featuresOnly();
    case 'bitmap': {
      const { data, width, height } = readPixels(picture.bitmap);
      return engine.embedPixels(data, width, height, text);
    }
    case undefined:
      if (text === null) throw new BitMarError('invalid_argument', 'An image or a text is needed, or both');
      return engine.embedText(text);
  }
}

function teach(engine: Engine, picture: Picture, label: string, nowMs: number): Written {
  switch (picture.kind) {
    case 'pixels':
      return engine.memoryTeachPixels(picture.data, picture.width, picture.height, label, nowMs);
    case 'file':
      return engine.memoryTeachFile(picture.bytes, label, nowMs);
    case 'features':
      throw featuresOnly();
    case 'bitmap': {
      const { data, width, height } = readPixels(picture.bitmap);
      return engine.memoryTeachPixels(data, width, height, label, nowMs);
    }
  }
}

function featuresOnly(): BitMarError {
  return new BitMarError('invalid_argument', 'Features can be captioned and written; recall and teach need a picture');
}
