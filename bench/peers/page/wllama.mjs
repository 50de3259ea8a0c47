// wllama: llama.cpp in a worker of its own.
import { LoggerWithoutDebug, Wllama } from '@wllama/wllama';

import { bytes, steadyRate, time, warmUp } from './timing.mjs';

const WASM = '/bench/peers/node_modules/@wllama/wllama/esm/wasm/wllama.wasm';

// llama.cpp adds a begin token and three bytes of a space; the vocabulary has no words that these letters make.
const promptOf = (positions) => 'abcdefghijklmnopqrstuvwxyz'.slice(0, positions - 4);

async function load(file, { threads, context, wasm = WASM }) {
  const wllama = new Wllama({ default: wasm }, { logger: LoggerWithoutDebug, suppressNativeLog: true });
  await wllama.loadModel([file], { n_ctx: context, n_threads: threads, n_gpu_layers: 0, warmup: false });
  return wllama;
}

function speaker(wllama, prompt) {
  return async (tokens) => {
    const options = { prompt: promptOf(prompt), max_tokens: tokens, temperature: 0, top_k: 1, ignore_eos: true, cache_prompt: false };
    const answer = await wllama.createCompletion(options);
    if (answer.usage.completion_tokens !== tokens) throw new Error(`${answer.usage.completion_tokens} tokens instead of ${tokens}`);
    return answer;
  };
}

export async function decoder({ model, first, tokens, prompt, threads }) {
  const wllama = await load(new Blob([await bytes(model)]), { threads, context: 512 });
  const speak = speaker(wllama, prompt);
  await warmUp(() => speak(tokens));
  const check = async () => {
    const { choices, usage, timings } = await speak(first + tokens);
    if (new Set(choices[0].text).size < 2) throw new Error('the text is one letter');
    const own = timings ? `, ${timings.predicted_per_second.toFixed(0)} tokens/s by its own clock` : '';
    return `${wllama.getNumThreads()} threads, prompt of ${usage.prompt_tokens}, "${choices[0].text.slice(0, 20)}"${own}`;
  };
  return { measure: () => steadyRate(speak, { first, tokens }), check };
}

/** From bytes in memory: runtime compiled, decoder loaded, prompt and `tokens` tokens. No picture. */
export async function start({ model, tokens, prompt, threads }) {
  const file = new Blob([await bytes(model)]);
  const wasm = URL.createObjectURL(new Blob([await bytes(WASM)], { type: 'application/wasm' }));
  return {
    measure: () => time(async () => speaker(await load(file, { threads, context: 512, wasm }), prompt)(tokens)),
  };
}
