// What the chaos tests of node and of the page share: a storm of calls, most of which go wrong in some way.

/**
 * Calls the model `calls` times, some at once. What is to hold of each: it settles; a caption that succeeds is that of its picture; a
 * call that fails does so with the code, or the error of its own, that it provoked. `random` gives numbers from 0 to 1.
 * @returns what was seen: { counts: by kind of call and outcome, wrong: what should not be }
 */
export async function storm({ model, calls, random, pictures, noPicture, atOnce = 4 }) {
  const counts = {};
  const wrong = [];
  const expected = [];
  for (const image of pictures) expected.push((await model.caption(image, { readMemory: false })).tokens.join());
  const OWN = new Error('of the caller');
  const fail = () => {
    throw OWN;
  };
  let saved;
  while (!saved) saved = await model.memory.export().catch(() => undefined); // the storage may fail
  const any = (list) => list[Math.floor(random() * list.length)];
  const aborting = () => {
    const controller = new AbortController();
    if (random() < 0.2) controller.abort();
    else if (random() < 0.5) setTimeout(() => controller.abort(), 20 * random());
    else queueMicrotask(() => controller.abort());
    return controller.signal;
  };

  /** An id that is there, or one of nothing, or none at all. */
  const anyId = async () => {
    const { episodes } = await model.memory.list({ limit: 5 });
    return any([...episodes.map(({ id }) => id), ...episodes.map(({ id }) => id), 0, 2 ** 52, 1.5, '1', null]);
  };
  const anyTime = () => any([undefined, 0, -0, Date.now(), 8.64e15, 1e300, Number.NaN, 10n, null, '5', new Date(), fail]);
  const anyFile = () => {
    const type = any(['image/png', 'image/jpeg; q=1', 'text/plain', '']);
    return any([true, false, undefined, 'file', 5, new Blob([]), new Blob(['a picture'], { type }), new Blob([new Uint8Array(50_000)], { type })]);
  };

  /** The outcomes that each kind of call may have; the first is what it is for. */
  const kinds = {
    async right() {
      const i = Math.floor(random() * pictures.length);
      const { tokens } = await model.caption(pictures[i], { readMemory: false });
      if (tokens.join() !== expected[i]) wrong.push(`caption ${i}: ${tokens.join()} instead of ${expected[i]}`);
    },
    aborted: () => model.caption(any(pictures), { signal: aborting(), maxTokens: 40 }),
    own: () => model.caption(any(pictures), { onToken: fail }),
    async left() {
      for await (const _ of model.stream(any(pictures))) break;
    },
    invalid_image: () => model.caption({ data: new Uint8Array(3), width: 90, height: 90 }),
    unreadable: () => model.caption(any(noPicture)),
    invalid_argument: () => model.caption(any(pictures), any([{ numBeams: 99 }, { maxTokens: -1 }, { signal: 'now' }, null, { prompt: 8 }])),
    remembered: () => model.memory.write(any(pictures), { label: random() < 0.5 ? 'cup' : undefined, signal: random() < 0.3 ? aborting() : undefined }),
    taught: () => model.memory.teach(any(pictures), `name ${Math.floor(random() * 5)}`),
    unpostable: () => model.memory.teach(any(pictures), 'cup', { now: fail }),
    recalled: () => model.memory.recall({ image: any(pictures), signal: random() < 0.3 ? aborting() : undefined }),
    searched: () => model.memory.recall({ text: 'a dog' }),
    asked: () => model.ask(any(pictures), 'what is this?', { signal: random() < 0.5 ? aborting() : undefined }),
    explained: () => model.explain(any(pictures), any(['a dog', '', ' two  cats ']), any([{}, { readMemory: true }, { prompt: 'a' }, { withoutEpisode: 1, signal: aborting() }])),
    scored: () => model.score(any(['', 'a']), any([[' dog'], [' dog', ' cat runs']]), any([{}, { end: true }, { image: any(pictures) }, { signal: aborting() }])),
    unscored: () => model.score(any(['a', null, '\ud800']), any([[], [''], ' dog', [7], ['\ud800'], null]), any([{}, { image: any(noPicture) }])),
    async forgotten() {
      const { episodes } = await model.memory.list({ limit: 3 });
      if (episodes.length) await model.memory.forget(any(episodes).id);
    },
    cleared: () => (random() < 0.1 ? model.memory.clear() : model.memory.stats()),
    flushed: () => model.memory.flush(),
    exported: () => model.memory.export({ signal: random() < 0.3 ? aborting() : undefined }),
    async imported() {
      const file = any([saved, await model.memory.export(), new Blob(['no memory']), new Blob([]), saved.slice(0, saved.size - 1), 'file', null]);
      await model.memory.import(file, any([{}, { shrink: true }, { signal: aborting() }, { shrink: 'yes' }, null]));
    },
    labelled: async () => model.memory.label(await anyId(), any(['mug', null, '', 7, 'x'.repeat(64), '\ud800', '[1,"'])),
    touched: async () => model.memory.touch(await anyId(), { now: anyTime() }),
    pictured: () => model.memory.teach(any(pictures), `name ${Math.floor(random() * 9)}`, { thumbnail: anyFile(), now: anyTime() }),
    seen: async () => model.memory.thumbnail(await anyId()),
  };
  const allowed = {
    right: ['fine'],
    aborted: ['aborted', 'fine'],
    own: ['own', 'fine'], // fine: a caption without a word
    left: ['fine'],
    invalid_image: ['invalid_image'],
    unreadable: ['invalid_image', 'unsupported_image'],
    invalid_argument: ['invalid_argument'],
    remembered: ['fine', 'aborted'],
    taught: ['fine'],
    unpostable: ['invalid_argument'],
    recalled: ['fine', 'aborted'],
    searched: ['fine'],
    asked: ['fine', 'aborted', 'unsupported'], // a model that answers no questions
    explained: ['fine', 'aborted'],
    scored: ['fine', 'aborted'],
    unscored: ['invalid_argument', 'invalid_text'],
    forgotten: ['fine'],
    cleared: ['fine'],
    flushed: ['fine', 'storage_full', 'storage_unavailable'],
    exported: ['fine', 'aborted', 'storage_unavailable'],
    imported: ['fine', 'aborted', 'invalid_argument', 'invalid_state', 'storage_unavailable'],
    labelled: ['fine', 'invalid_argument', 'text_too_long', 'invalid_text'],
    touched: ['fine', 'invalid_argument'],
    pictured: ['fine', 'invalid_argument'],
    seen: ['fine', 'invalid_argument', 'storage_unavailable'],
  };

  const listener = () => random() < 0.01 && fail();
  model.memory.addEventListener('change', listener);
  const nameOf = (error) => (error === OWN ? 'own' : error?.name === 'BitMarError' ? error.code : `${error?.name}: ${error?.message}`);
  let begun = 0;
  const one = async () => {
    while (begun < calls) {
      begun += 1;
      const kind = any(Object.keys(kinds));
      const call = (async () => kinds[kind]())().then(() => 'fine', nameOf);
      let timer;
      const outcome = await Promise.race([call, new Promise((resolve) => (timer = setTimeout(resolve, 60_000, 'never settled')))]);
      clearTimeout(timer); // or thousands of them would look like a leak
      counts[`${kind}: ${outcome}`] = (counts[`${kind}: ${outcome}`] ?? 0) + 1;
      if (!allowed[kind].includes(outcome)) wrong.push(`${kind}: ${outcome}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  model.memory.removeEventListener('change', listener);

  // After the storm everything is as it was.
  for (const [i, image] of pictures.entries()) {
    const { tokens } = await model.caption(image, { readMemory: false });
    if (tokens.join() !== expected[i]) wrong.push(`after the storm, caption ${i}: ${tokens.join()} instead of ${expected[i]}`);
  }
  return { counts, wrong };
}

/** Numbers from 0 to 1 (mulberry32). */
export function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A clock that is set forward and back by up to a day, at random, whenever it is read. */
export function jumpingClock(random) {
  const { now } = Date;
  Date.now = () => now() + (random() - 0.5) * 2 * 86_400_000;
  return () => (Date.now = now);
}

/** How many calls: npm test makes fewer of them than BITMAR_CHAOS_CALLS=10000, which is for the full run. */
const { BITMAR_CHAOS_CALLS = 400, BITMAR_SEED = Date.now() % 1_000_000 } = globalThis.process?.env ?? {}; // a page has none
export const CALLS = Number(BITMAR_CHAOS_CALLS);
export const SEED = Number(BITMAR_SEED);
