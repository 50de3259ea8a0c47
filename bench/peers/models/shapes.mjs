// What is compared: two decoders and the image encoder of the default model, as our configuration states them.
import { readFileSync } from 'node:fs';

const DEFAULT = JSON.parse(readFileSync(new URL('../../../models/bitmar/model/default_config.json', import.meta.url)));

// Every runtime speaks TOKENS tokens after FIRST ones that are not timed, with PROMPT positions before them.
export const PROMPT = 17;
export const FIRST = 16;
export const TOKENS = 128;
export const CONTEXT = PROMPT + FIRST + TOKENS / 2;

/** 2304 is what a gated feed-forward of 1536 costs; ours, and so that of every peer here, has no gate. */
export const DECODERS = {
  'd256 L4': { width: 256, layers: 4, hidden: 1024, vocabulary: DEFAULT.vocab_size, heads: 4 },
  'd512 L6': { width: 512, layers: 6, hidden: 2304, vocabulary: DEFAULT.vocab_size, heads: 4 },
};

export const ENCODER = DEFAULT.vision;
export const CAPTIONER = DEFAULT;

/** Our configuration of a decoder alone: it starts from a grid of features, which becomes the 17 positions of a prompt. It answers nothing. */
export function decoderConfig({ width, layers, hidden, vocabulary, heads }) {
  const { ask: _, bag_of_words: __, words: ___, ...captioner } = DEFAULT;
  return {
    ...captioner,
    hidden_size: width,
    vocab_size: vocabulary,
    vision: { input: 'features', grid_size: 8, feature_size: 256 },
    text_encoder: { ...DEFAULT.text_encoder, num_layers: 0, intermediate_size: 4 },
    fusion: { ...DEFAULT.fusion, num_layers: 0 },
    decoder: { ...DEFAULT.decoder, num_layers: layers, num_heads: heads, intermediate_size: hidden },
  };
}

/** The stem's layers with the shapes that they see: { type, kernel, stride, in, out, size (of the output), relu }. */
export function stemLayers({ stem, image_size }) {
  let size = image_size;
  let channels = 3;
  return stem.flatMap((layer) => {
    const { type, kernel_size: kernel, stride = 1, out_channels: out = channels, activation } = layer;
    size = Math.floor((size + 2 * (kernel >> 1) - kernel) / stride) + 1;
    const shaped = { type, kernel, stride, in: channels, out, size, relu: activation === 'relu' };
    channels = out;
    return [shaped];
  });
}

/** Millions of multiplications and additions a token, attention over the context included. */
export function decoderMmac({ width: d, layers, hidden, vocabulary }) {
  return (layers * (4 * d * d + 2 * d * hidden + 2 * CONTEXT * d) + vocabulary * d) / 1e6;
}

/** The same for a picture. */
export function encoderMmac(vision) {
  const { grid_size, hidden_size: d, num_layers, intermediate_size, feature_size } = vision;
  const convolution = (l) => l.size ** 2 * l.out * l.in * l.kernel ** 2;
  const stem = stemLayers(vision).reduce((sum, l) => sum + { conv: 1, residual: 2, max_pool: 0 }[l.type] * convolution(l), 0);
  const n = grid_size ** 2;
  return (stem + num_layers * n * (4 * d * d + 2 * d * intermediate_size + 2 * n * d) + n * d * feature_size) / 1e6;
}
