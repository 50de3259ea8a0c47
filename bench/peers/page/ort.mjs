// onnxruntime-web's WebAssembly back end, in the page's own thread: no message costs it anything.
import * as ort from 'onnxruntime-web';

import { bytes, pictureTime, summary, time, warmUp } from './timing.mjs';

const DIST = '/bench/peers/node_modules/onnxruntime-web/dist/';

async function session(file, threads) {
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = DIST;
  ort.env.logLevel = 'error';
  return ort.InferenceSession.create(file, { executionProviders: ['wasm'], graphOptimizationLevel: 'all' });
}

const tokenOf = (id) => new ort.Tensor('int64', BigInt64Array.of(BigInt(id)), [1, 1]);

async function speak(session, tokens, begin = 1) {
  const peaks = [];
  let token = tokenOf(begin);
  for (let i = 0; i < tokens; i += 1) {
    const { next, peak } = await session.run({ token });
    peaks.push(peak.data[0]);
    token = next;
  }
  return peaks;
}

function pictureOf(kind, side) {
  const data = Array.from({ length: 3 * side * side }, () => Math.random() * 256);
  const tensor = kind === 'int8' ? ['uint8', Uint8Array.from(data)] : ['float32', Float32Array.from(data, (v) => v / 128 - 1)];
  return new ort.Tensor(...tensor, [1, 3, side, side]);
}

export async function decoder({ model, tokens, threads }) {
  const decoder = await session(await bytes(model), threads);
  await warmUp(() => speak(decoder, tokens));
  const check = async () => {
    const peaks = [];
    for (let begin = 3; begin < 10; begin += 1) peaks.push(...(await speak(decoder, 1, begin)));
    return `logits ${summary(peaks)}`;
  };
  return { measure: async () => (1e3 * tokens) / (await time(() => speak(decoder, tokens))), check };
}

export async function encoder({ model, kind, pictures, side, threads }) {
  const encoder = await session(await bytes(model), threads);
  const pixels = pictureOf(kind, side);
  const see = () => time(() => encoder.run({ pixels }));
  await warmUp(see);
  return {
    measure: () => pictureTime(see, pictures),
    check: async () => `features ${summary((await encoder.run({ pixels })).features.data)}`,
  };
}

/** From bytes in memory: runtime compiled, both sessions made, one picture and `tokens` tokens. */
export async function start({ models, kind, side, tokens, threads }) {
  const [encoder, decoder, wasm] = await Promise.all([...models, `${DIST}ort-wasm-simd-threaded.wasm`].map(bytes));
  const pixels = pictureOf(kind, side);
  ort.env.wasm.wasmBinary = wasm;
  return {
    measure: () =>
      time(async () => {
        const [see, say] = [await session(encoder, threads), await session(decoder, threads)];
        await see.run({ pixels });
        await speak(say, tokens);
      }),
  };
}
