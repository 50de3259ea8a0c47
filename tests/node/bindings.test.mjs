// What the bindings export is what the package's types say: names, arguments, and the fields of what comes back.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import ts from 'typescript';

import { engineModule, engineOf, path } from './helpers.mjs';

const KINDS = { double: 'number', float: 'number', int: 'number', bool: 'boolean', 'std::string': 'string', val: 'any' };

/** The members of an interface of the package: name -> { kinds of the arguments, fields of the result's type }. */
async function declared() {
  const sources = ['engine.ts', 'memory/types.ts'];
  const files = await Promise.all(sources.map(async (name) => ts.createSourceFile(name, await readFile(path(`web/bitmar/src/${name}`), 'utf8'), ts.ScriptTarget.Latest)));
  const interfaces = new Map(files.flatMap((file) => file.statements.filter(ts.isInterfaceDeclaration).map((one) => [one.name.text, one])));
  const kind = ({ kind }) => ({ [ts.SyntaxKind.NumberKeyword]: 'number', [ts.SyntaxKind.BooleanKeyword]: 'boolean', [ts.SyntaxKind.StringKeyword]: 'string' })[kind] ?? 'any';
  const fields = (name) => {
    const { members, heritageClauses = [] } = interfaces.get(name);
    const inherited = heritageClauses.flatMap(({ types }) => types.flatMap(({ expression }) => fields(expression.text)));
    return [...inherited, ...members.filter(({ questionToken }) => !questionToken).map((member) => member.name.text)];
  };
  const methods = new Map(interfaces.get('Engine').members.map((member) => [member.name.text, member.parameters.map(({ type }) => kind(type))]));
  methods.delete('delete'); // Embind's own
  return { methods, fields: (name) => fields(name).sort() };
}

test('every function of the engine that is bound has a type, and the other way round', async () => {
  const source = await readFile(path('wasm/bindings.cpp'), 'utf8');
  const bound = new Map();
  for (const [, name, symbol] of source.matchAll(/\.function\("(\w+)", &([\w:]+)\)/g)) {
    const own = symbol.startsWith('Engine::'); // a method without arguments
    const parameters = own ? '' : new RegExp(`\\b${symbol}\\((?:const )?Engine& engine(?:, )?([^)]*)\\)`).exec(source)[1];
    const kinds = parameters.split(',').map((one) => one.trim().replace(/^const /, '').replace(/&? \w+$/, '')).filter(Boolean);
    bound.set(name, kinds.map((type) => KINDS[type] ?? assert.fail(`${name}: ${type}`)));
  }
  const { methods } = await declared();
  assert.ok(bound.size > 25);
  assert.deepEqual([...bound.keys()].sort(), [...methods.keys()].sort());
  for (const [name, kinds] of bound) {
    const types = methods.get(name);
    assert.equal(types.length, kinds.length, `${name} takes ${kinds.length} arguments`);
    kinds.forEach((kind, i) => assert.ok(kind === 'any' ? types[i] === 'any' : types[i] === kind, `${name}, argument ${i}: ${kind} is bound, ${types[i]} declared`));
  }
});

test('what comes back has the fields that its type says', async () => {
  const { fields } = await declared();
  const engine = await engineOf(await engineModule());
  const has = (type, value) => assert.deepEqual(Object.keys(value).sort(), fields(type), type);
  const pixels = [new Uint8Array(3 * 32 * 32).fill(90), 32, 32];
  engine.beginPixels(...pixels, { prompt: '', maxTokens: 3, numBeams: 1, temperature: 0, topP: 1, seed: 0, readMemory: false, prefix: '' });
  while (engine.step() !== null);
  has('EngineResult', engine.result());
  has('Written', engine.memoryWrite(5, null));
  has('EngineAnswer', engine.askPixels(...pixels, 'what?', { numBeams: 1, maxTokens: null }));
  has('Written', engine.memoryTeachPixels(...pixels, 'grey', 6));
  has('EngineEpisode', engine.memoryList()[0]);
  const query = engine.embedPixels(...pixels, null);
  const { similarity, ...episode } = engine.memoryRecall(query, 1, -1)[0];
  assert.equal(typeof similarity, 'number');
  has('EngineEpisode', episode);
  has('Recognition', engine.memoryRecognise(query));
  has('EngineMemoryStats', engine.memoryStats());
  const snapshot = engine.memorySnapshot();
  const merged = engine.memoryMerged(snapshot, []);
  assert.deepEqual(Object.keys(merged).sort(), ['episodes', 'snapshot']);
  has('EngineEpisode', merged.episodes[0]);
  has('EngineLoadReport', engine.memoryLoad(snapshot, [], false));
  assert.ok(Object.values(engine.bytes()).every(Number.isSafeInteger));
  engine.delete();
});
