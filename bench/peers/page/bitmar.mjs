// Ours, through the public interface of the package: in its worker, each call from message to message.
import { BitMar } from 'bitmar';

import { bytes, pictureTime, steadyRate, summary, time, warmUp } from './timing.mjs';

const noise = (n) => Float32Array.from({ length: n }, () => Math.random() * 2 - 1);

export async function decoder({ model: folder, build, threads, first, tokens }) {
  const model = await BitMar.load(folder, { build, threads });
  const features = noise(8 * 8 * 256);
  const speak = async (maxTokens) => {
    features[0] = Math.random(); // no picture is seen twice
    const caption = await model.caption({ features }, { maxTokens });
    if (caption.tokens.length !== maxTokens) throw new Error('the caption ended before its time');
    return caption;
  };
  await warmUp(() => speak(tokens));
  return {
    measure: () => steadyRate(speak, { first, tokens }),
    check: async () => `${model.info.build}, ${model.info.threads} threads, ${model.info.kernels}; tokens ${summary((await speak(tokens)).tokens)}`,
  };
}

export async function encoder({ model: folder, build, threads, pictures, side }) {
  const model = await BitMar.load(folder, { build, threads });
  const picture = { data: new Uint8Array(3 * side * side).map(() => Math.random() * 256), width: side, height: side };
  const see = async () => {
    picture.data[Math.floor(Math.random() * picture.data.length)] ^= 1; // no picture is seen twice
    return (await model.caption(picture, { maxTokens: 1 })).timings.visionMs;
  };
  await warmUp(see);
  const check = async () => {
    picture.data.fill(0);
    const dark = await model.caption(picture, { maxTokens: 4 });
    picture.data.forEach((_, i) => (picture.data[i] = Math.random() * 256));
    const noisy = await model.caption(picture, { maxTokens: 4 });
    if (dark.logProbability === noisy.logProbability) throw new Error('two pictures give the same caption');
    return `${model.info.build}, ${model.info.threads} threads, ${model.info.kernels}; two pictures, two captions`;
  };
  return { measure: () => pictureTime(see, pictures), check };
}

/** From bytes in memory: engine compiled, model loaded, one picture and its first `tokens` tokens. */
export async function start({ model: folder, threads, side, tokens }) {
  const build = threads > 1 ? 'relaxed-threads' : 'relaxed';
  const texts = ['config.json', 'tokenizer.json', 'preprocessor_config.json'].map(async (name) => new TextDecoder().decode(await bytes(`${folder}/${name}`)));
  const [config, tokenizer, preprocessor] = await Promise.all(texts);
  const weights = await bytes(`${folder}/model.safetensors`);
  const wasmUrl = URL.createObjectURL(new Blob([await bytes(`/web/bitmar/dist/wasm/bitmar-${build}.wasm`)], { type: 'application/wasm' }));
  const picture = { data: new Uint8Array(3 * side * side).map(() => Math.random() * 256), width: side, height: side };
  return {
    measure: () =>
      time(async () => {
        const model = await BitMar.load({ config, tokenizer, preprocessor, weights }, { build, threads, wasmUrl });
        await model.caption(picture, { maxTokens: tokens });
      }),
  };
}
