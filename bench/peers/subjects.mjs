// Who is measured at what: writes the models' files and names them to the pages.
import { mkdir, writeFile } from 'node:fs/promises';

import { bitmarModel } from './models/bitmar.mjs';
import { decoderGguf } from './models/gguf.mjs';
import { decoderGraph, encoderGraph } from './models/onnx_models.mjs';
import { reseed } from './models/random.mjs';
import { CAPTIONER, decoderConfig, decoderMmac, DECODERS, ENCODER, encoderMmac } from './models/shapes.mjs';
import { FIRST, PROMPT, stemLayers, TOKENS } from './models/shapes.mjs';

const MODELS = 'build/peers/'; // in the repository
const PICTURES = 7; // a figure is the median of these
const START_TOKENS = 10; // about a caption

const GGUF = { tq2: 'TQ2_0', q8: 'Q8_0' };
const ORT = { runtime: 'onnxruntime-web', module: 'ort' };
const WLLAMA = { runtime: 'wllama', module: 'wllama' };
const TFJS = { runtime: 'tfjs-wasm', module: 'tfjs' };
const OURS_SIMD = { runtime: 'BitMar', module: 'bitmar' }; // what runs where there is no relaxed SIMD
const OURS = { ...OURS_SIMD, ours: true };
const FEW = 32; // tokens of what is slow; each step of onnxruntime-web here costs the same

/**
 * The groups whose id is `wanted`: { id, title, unit, better, mmac, subjects }. A subject is what the page's `module` makes of
 * `spec` for a `task`: { runtime, variant, module, task, spec, bytes }.
 */
export async function groups(root, wanted) {
  const folder = new URL(MODELS, root);
  const kept = new Map();
  const keep = async (name, make) => {
    if (kept.has(name)) return kept.get(name);
    reseed();
    const data = make();
    const files = Object.entries(data instanceof Uint8Array ? { '': data } : data);
    for (const [file, content] of files) {
      const target = new URL(file ? `${name}/${file}` : name, folder);
      await mkdir(new URL('.', target), { recursive: true });
      await writeFile(target, content);
    }
    kept.set(name, { model: `/${MODELS}${name}`, bytes: files.reduce((sum, [, content]) => sum + content.length, 0) });
    return kept.get(name);
  };
  const decoder = (name, kind) => {
    const shape = DECODERS[name];
    const file = `${name.replace(' ', '-')}-${kind}`;
    if (kind === 'ternary') return keep(file, () => bitmarModel(decoderConfig(shape)));
    if (kind in GGUF) return keep(`${file}.gguf`, () => decoderGguf(GGUF[kind], shape));
    const [weights, attention] = kind.split('-');
    return keep(`${file}.onnx`, () => decoderGraph(weights, shape, { attention: attention === undefined }));
  };
  const encoder = (kind) => keep(`encoder-${kind}.onnx`, () => encoderGraph(kind, ENCODER));
  const captioner = () => keep('captioner', () => bitmarModel(CAPTIONER));

  const side = ENCODER.image_size;
  const vision = { ...ENCODER, layers: stemLayers(ENCODER) };
  const list = [];
  const group = async (id, figures, subjects) => wanted(id) && list.push({ id, ...figures, subjects: await subjects() });

  for (const [name, shape] of Object.entries(DECODERS)) {
    const title = `decoding, ${name}, feed-forward ${shape.hidden}, vocabulary ${shape.vocabulary}`;
    const figures = { title, unit: 'tokens/s', better: 'more', mmac: decoderMmac(shape) };
    await group(`decoder-${name.replace(' ', '-')}`, figures, async () => {
      const subject = async (who, kind, variant, more) => {
        const { model, bytes } = await decoder(name, kind);
        return { ...who, variant, task: 'decoder', spec: { first: FIRST, tokens: TOKENS, prompt: PROMPT, model, ...more }, bytes };
      };
      return [
        await subject(OURS, 'ternary', 'ternary'),
        await subject(OURS_SIMD, 'ternary', 'ternary, simd128', { build: 'simd' }),
        await subject(ORT, 'f32', 'f32'),
        await subject(ORT, 'f32-alone', 'f32 without attention'),
        await subject(ORT, 'int8', 'int8'),
        await subject(ORT, 'nbits4', '4 bit', { tokens: FEW }),
        await subject(ORT, 'nbits2', '2 bit', { tokens: FEW }),
        await subject(WLLAMA, 'tq2', 'TQ2_0'),
        await subject(WLLAMA, 'q8', 'Q8_0'),
      ];
    });
  }

  const picture = { title: `image encoding, ${side} x ${side} pixels`, unit: 'ms', better: 'less', mmac: encoderMmac(ENCODER) };
  await group('encoder', picture, async () => {
    const spec = { pictures: PICTURES, side };
    const subject = (who, variant, { bytes, ...model }) => ({ ...who, variant, task: 'encoder', spec: { ...spec, ...model }, bytes });
    return [
      subject(OURS, 'ternary', await captioner()),
      subject(OURS_SIMD, 'ternary, simd128', { build: 'simd', ...(await captioner()) }),
      subject(ORT, 'f32', { kind: 'f32', ...(await encoder('f32')) }),
      subject(ORT, 'int8', { kind: 'int8', ...(await encoder('int8')) }),
      subject(TFJS, 'f32', { vision, bytes: (await encoder('f32')).bytes }),
    ];
  });

  // A page for each figure.
  const start = { title: `start, from bytes in memory to a picture and ${START_TOKENS} tokens`, unit: 'ms', better: 'less', fresh: true };
  await group('start', start, async () => {
    const spec = { side, tokens: START_TOKENS, prompt: PROMPT };
    const subject = (who, variant, more) => ({ ...who, variant, task: 'start', spec: { ...spec, ...more } });
    const ort = async (kind) => {
      const models = [(await encoder(kind)).model, (await decoder('d256 L4', kind)).model];
      return subject(ORT, kind, { kind, models });
    };
    return [
      subject(OURS, 'ternary', { model: (await captioner()).model }),
      await ort('f32'),
      await ort('int8'),
      subject(WLLAMA, 'TQ2_0, no picture', { model: (await decoder('d256 L4', 'tq2')).model }),
      subject(TFJS, 'f32, picture alone', { vision }),
    ];
  });
  return list;
}
