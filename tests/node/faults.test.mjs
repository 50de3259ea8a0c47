// Faults of the caller's: wrong arguments, functions that throw. Each ends its own call in the API's own words, and nothing else.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

import { BitMar } from 'bitmar';
import { code, path, picture, TINY } from './helpers.mjs';

const image = picture(40, 30);
const OWN = new Error('of the caller');
const isOwn = (error) => error === OWN;
const throwing = () => {
  throw OWN;
};
const rejecting = async () => throwing();

/** A typed array whose buffer somebody else has now. */
function detached(Type = Uint8Array, length = 40 * 30 * 4) {
  const array = new Type(length);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

async function tinyFiles() {
  const text = (name) => readFile(join(TINY, name), 'utf8');
  return {
    config: await text('config.json'),
    tokenizer: await text('tokenizer.json'),
    preprocessor: await text('preprocessor_config.json'),
    weights: await readFile(join(TINY, 'model.safetensors')),
  };
}

describe('wrong arguments', () => {
  let model, files;
  before(async () => {
    files = await tinyFiles();
    model = await BitMar.load(TINY);
  });
  after(() => model.dispose());

  const loads = {
    'null': () => [null],
    'a number': () => [7],
    'no files': () => [{}],
    'config as an object': () => [{ ...files, config: JSON.parse(files.config) }],
    'no tokenizer': () => [{ ...files, tokenizer: undefined }],
    'weights as an array': () => [{ ...files, weights: [1, 2, 3] }],
    'detached weights': () => [{ ...files, weights: detached() }],
    'detached buffer of weights': () => [{ ...files, weights: detached().buffer }],
    'an impossible address': () => ['http://'],
    'options that are null': () => [TINY, null],
    'options that are a text': () => [TINY, 'fast'],
    'a text as memory': () => [TINY, { memory: 'none' }],
    'an unknown way with earlier memories': () => [TINY, { memory: { earlier: 'burn' } }],
    'a text as shrink': () => [TINY, { memory: { slots: 2, shrink: 'false' } }],
    'a number as shrink': () => [TINY, { memory: { slots: 2, shrink: 1 } }],
    'a text as persist': () => [TINY, { memory: { persist: 'no' } }],
    'a number as folder': () => [TINY, { memory: { folder: 5 } }],
    'no name of a folder': () => [TINY, { memory: { folder: '' } }],
    'a URL as folder': () => [TINY, { memory: { folder: new URL('file:///tmp/x') } }],
    'an object as store': () => [TINY, { memory: { store: {} } }],
    'a text as autosaveMs': () => [TINY, { memory: { autosaveMs: '5' } }],
    'a text as thumbnailBytes': () => [TINY, { memory: { thumbnailBytes: '5' } }],
    'an unknown build': () => [TINY, { build: 'fast' }],
    'null as a build': () => [TINY, { build: null }],
    'an object as a signal': () => [TINY, { signal: {} }],
    'a text as onProgress': () => [TINY, { onProgress: 'log' }],
    'a text as worker': () => [TINY, { worker: 'no' }],
    'no address of a worker': () => [TINY, { workerUrl: 'worker' }],
  };
  for (const [what, args] of Object.entries(loads)) {
    test(`load: ${what}`, () => assert.rejects(BitMar.load(...args()), code('invalid_argument')));
  }

  const calls = {
    'caption: nothing': () => model.caption(),
    'caption: null options': () => model.caption(image, null),
    'caption: a number as options': () => model.caption(image, 5),
    'caption: signal': () => model.caption(image, { signal: {} }),
    'caption: onToken': () => model.caption(image, { onToken: 'print' }),
    'caption: prompt': () => model.caption(image, { prompt: 5 }),
    'caption: readMemory': () => model.caption(image, { readMemory: () => true }),
    'caption: writeMemory': () => model.caption(image, { writeMemory: 1 }),
    'caption: maxTokens': () => model.caption(image, { maxTokens: {} }),
    'caption: now': () => model.caption(image, { now: () => 1 }),
    'caption: detached pixels': () => model.caption({ data: detached(), width: 40, height: 30 }),
    'caption: detached features': () => model.caption({ features: detached(Float32Array) }),
    'ask: no question': () => model.ask(image),
    'ask: null options': () => model.ask(image, 'what?', null),
    'ask: signal': () => model.ask(image, 'what?', { signal: {} }),
    'ask: numBeams': () => model.ask(image, 'what?', { numBeams: '2' }),
    'ask: detached pixels': () => model.ask({ data: detached(), width: 40, height: 30 }, 'what?'),
    'stream: null options': () => model.stream(image, null).next(),
    'stream: signal': () => model.stream(image, { signal: 'now' }).next(),
    'write: null options': () => model.memory.write(image, null),
    'write: label': () => model.memory.write(image, { label: 7 }),
    'teach: no label': () => model.memory.teach(image),
    'teach: null options': () => model.memory.teach(image, 'cup', null),
    'teach: a clock that cannot be sent': () => model.memory.teach(image, 'cup', { now: () => 1 }),
    'teach: signal': () => model.memory.teach(image, 'cup', { signal: {} }),
    'recall: nothing': () => model.memory.recall(),
    'recall: null': () => model.memory.recall(null),
    'recall: text': () => model.memory.recall({ image, text: 7 }),
    'recall: signal': () => model.memory.recall({ text: 'a', signal: {} }),
    ...Object.fromEntries(
      [10n, null, true, '5', [3], new Date(), Number.NaN, Infinity, Symbol('now')].flatMap((now) => [
        [`teach: ${typeof now} ${String(now)} as now`, () => model.memory.teach(image, 'cup', { now })],
        [`touch: ${typeof now} ${String(now)} as now`, () => model.memory.touch(1, { now })],
        [`write: ${typeof now} ${String(now)} as now`, () => model.memory.write(image, { now })],
      ]),
    ),
    'recall: k': () => model.memory.recall({ text: 'a', k: 1n }),
    'recall: minScore': () => model.memory.recall({ text: 'a', minScore: 1n }),
    'list: a limit of another kind': () => model.memory.list({ limit: 5n }),
    'caption: lengthPenalty': () => model.caption(image, { lengthPenalty: 1n }),
    'touch: null options': () => model.memory.touch(1, null),
    'label: a number': () => model.memory.label(1, 7),
    'forget: a text': () => model.memory.forget('1'),
    'list: null': () => model.memory.list(null),
    'list: limit': () => model.memory.list({ limit: '5' }),
    'thumbnail: nothing': () => model.memory.thumbnail(),
    'export: null': () => model.memory.export(null),
    'import: nothing': () => model.memory.import(),
    'import: null options': () => model.memory.import(new Blob([]), null),
    'import: shrink': () => model.memory.import(new Blob([]), { shrink: 'yes' }),
    'import: signal': () => model.memory.import(new Blob([]), { signal: {} }),
  };
  for (const [what, call] of Object.entries(calls)) {
    test(what, async () => {
      await assert.rejects(call(), code('invalid_argument'));
      assert.ok((await model.caption(image, { maxTokens: 2 })).tokens, 'the next call');
    });
  }

  test('null is as good as nothing where nothing is wanted', async () => {
    const nothing = { signal: null, onToken: null, readMemory: null, writeMemory: null };
    assert.ok((await model.caption(image, nothing)).tokens.length);
    for await (const piece of model.stream(image, nothing)) assert.equal(typeof piece, 'string');
  });

  test('watch, and where there are no videos', () => {
    assert.throws(() => model.watch(null, { onCaption() {} }), code('unsupported_platform'));
    for (const options of [undefined, null, {}, { onCaption: 'print' }, { onCaption() {}, interval: -1 }, { onCaption() {}, interval: Infinity }]) {
      assert.throws(() => model.watch({}, options), code('invalid_argument'));
    }
  });

  test('messages say maxTokens, not max_tokens', async () => {
    for (const options of [{ maxTokens: 'x' }, { maxTokens: 0 }, { numBeams: 0 }, { topP: 7 }, { temperature: -1 }, { lengthPenalty: 'x' }]) {
      const [name] = Object.keys(options);
      await assert.rejects(model.caption(image, options), (error) => code('invalid_argument')(error) && error.message.includes(name) && !error.message.includes('_'));
    }
  });
});

for (const worker of [true, false]) {
  describe(`functions that throw, ${worker ? 'with a worker' : 'in this thread'}`, () => {
    let model, warnings;
    const onWarning = (warning) => warnings.push(warning);
    before(async () => {
      model = await BitMar.load(TINY, { worker });
      warnings = [];
      process.on('warning', onWarning);
    });
    after(() => {
      process.off('warning', onWarning);
      model.dispose();
    });
    /** The model works, and what was reported since the last time is this. */
    async function goesOn(...reported) {
      assert.ok((await model.caption(image, { maxTokens: 3 })).tokens.length);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(warnings.map(({ message }) => message.split('\n')[0]), reported);
      warnings.length = 0;
    }

    for (const onToken of [throwing, rejecting]) {
      test(`${onToken.name} onToken ends its call`, async () => {
        const waiting = model.caption(image, { maxTokens: 50 });
        const failing = model.caption(image, { maxTokens: 500, onToken });
        const next = model.caption(image, { maxTokens: 3 });
        await assert.rejects(failing, isOwn);
        assert.ok((await waiting).tokens && (await next).tokens);
        await goesOn();
      });
    }

    test('so does that of a stream', async () => {
      await assert.rejects(async () => {
        for await (const _ of model.stream(image, { maxTokens: 500, onToken: throwing }));
      }, isOwn);
      await goesOn();
    });

    test('what comes after the end of the call is reported', async () => {
      const late = () => new Promise((_, reject) => setTimeout(reject, 5, OWN));
      await model.caption(image, { maxTokens: 1, onToken: late });
      await new Promise((resolve) => setTimeout(resolve, 20));
      await goesOn(`Error: ${OWN.message}`);
    });

    test('listeners are reported, the others hear all the same', async () => {
      const heard = [];
      const { memory } = model;
      const listeners = [throwing, rejecting, { handleEvent: throwing }, ({ change }) => heard.push(change)];
      for (const listener of listeners) memory.addEventListener('change', listener);
      await memory.teach(image, 'cup');
      for (const listener of listeners) memory.removeEventListener('change', listener);
      await memory.teach(image, 'cup');
      assert.deepEqual(heard, ['teach']);
      await goesOn(...Array(3).fill(`Error: ${OWN.message}`));
      assert.throws(() => memory.addEventListener('change', 7), code('invalid_argument'));
    });

    test('onProgress ends the load', async () => {
      await assert.rejects(BitMar.load(TINY, { worker, onProgress: throwing }), isOwn);
      await goesOn();
    });

    test('dispose() from within onToken', async () => {
      const other = await BitMar.load(TINY, { worker });
      const pending = [other.caption(image, { onToken: () => other.dispose() }), other.caption(image)];
      for (const call of pending) await assert.rejects(call, code('disposed'));
      const third = await BitMar.load(TINY, { worker });
      const onToken = () => {
        third.dispose();
        throw OWN;
      };
      await assert.rejects(third.caption(image, { onToken }), code('disposed'));
      await goesOn(`Error: ${OWN.message}`);
    });

    test('a store whose close() throws: dispose() does not, and the worker ends', async () => {
      const nothing = { snapshot: null, frames: [], sequence: 0, captions: new Map(), thumbnails: new Map() };
      const store = () => ({ durable: true, load: async () => nothing, append: async () => true, replace: async () => {}, thumbnail: async () => undefined, close: throwing });
      const other = await BitMar.load(TINY, { worker, memory: { store } });
      await other.memory.open();
      other.dispose();
      await assert.rejects(other.caption(image), code('disposed'));
      await goesOn(`Error: ${OWN.message}`);
    });
  });
}

test('what the engine cannot convert ends its own call only', async () => {
  const { hostHere } = await import(path('web/bitmar/dist/worker/host-here.js'));
  const { nodePlatform } = await import(path('web/bitmar/dist/platform/node.js'));
  const replies = [];
  let heard = () => {};
  const host = hostHere((reply) => (replies.push(reply), heard()), nodePlatform.decodePhoto);
  const ask = (request) => new Promise((resolve) => ((heard = resolve), host.receive(request))).then(() => replies.pop());
  const wasm = new Uint8Array(await readFile(path('web/bitmar/dist/wasm/bitmar-simd.wasm')));
  await ask({ type: 'start', id: 1, build: 'simd', wasm, threads: 1, lifeline: undefined, replaceable: false });
  await ask({ type: 'load', id: 2, ...(await tinyFiles()), int8KvCache: false, additiveMemory: false });
  for (const [i, nowMs] of [10n, Symbol('now'), '5'].entries()) {
    const picture = { kind: 'pixels', ...image };
    const { type, code } = await ask({ type: 'memory', id: 3 + i, call: { name: 'teach', question: { picture, label: 'cup', nowMs } } });
    if (type === 'error') assert.equal(code, 'invalid_argument'); // once: worker_failed, and with it all that was not saved
  }
  assert.equal((await ask({ type: 'memory', id: 9, call: { name: 'stats', question: {} } })).type, 'remembered');
  host.close();
});

test('a process whose functions throw ends well', async () => {
  const program = `
    const { BitMar } = await import('bitmar');
    const image = (await import('./tests/node/helpers.mjs')).picture(40, 30);
    const fail = () => { throw new Error('of the caller'); };
    const model = await BitMar.load(${JSON.stringify(TINY)});
    model.memory.addEventListener('change', fail);
    model.memory.addEventListener('change', async () => fail());
    await model.memory.teach(image, 'cup');
    const caught = await model.caption(image, { onToken: fail }).catch((error) => error.message);
    console.log(caught, (await model.caption(image)).tokens.length > 0);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: path(''), timeout: 60_000 });
  assert.equal(stdout, 'of the caller true\n');
});
