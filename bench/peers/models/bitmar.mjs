// A model of ours with random weights, from its config.json: the files that models/bitmar/model/export.py would write.
import { readFileSync } from 'node:fs';

import { floats, ones, whole } from './random.mjs';

const TYPES = { Float32Array: 'F32', Int8Array: 'I8', Uint8Array: 'U8' };

/** [{ name, shape, data }] -> the bytes of a .safetensors file; the widest elements first, so that all are aligned. */
function safetensors(tensors) {
  const sorted = tensors.toSorted((a, b) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);
  const header = {};
  let offset = 0;
  for (const { name, shape, data } of sorted) {
    header[name] = { dtype: TYPES[data.constructor.name], shape, data_offsets: [offset, (offset += data.byteLength)] };
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...sorted.map(({ data }) => Buffer.from(data.buffer))]);
}

/** Four codes t + 1 a byte. */
const packed = (n) => Uint8Array.from({ length: n }, () => whole(3) | (whole(3) << 2) | (whole(3) << 4) | (whole(3) << 6));

function tensorsOf(c) {
  const tensors = [];
  const add = (name, shape, data) => tensors.push({ name, shape, data });
  const norm = (name, n) => add(`${name}.weight`, [n], ones(n));
  const linear = (name, inputs, outputs) => {
    add(`${name}.weight`, [outputs / 4, inputs], packed((outputs / 4) * inputs));
    add(`${name}.weight_scale`, [1], Float32Array.of((inputs * 2 / 3) ** -0.5));
  };
  const attention = (name, width) => {
    for (const part of ['q', 'k', 'v', 'o']) linear(`${name}.${part}_proj`, width, width);
    norm(`${name}.sub_norm`, width);
  };
  const feedForward = (name, width, hidden) => {
    linear(`${name}.up_proj`, width, hidden);
    norm(`${name}.sub_norm`, hidden);
    linear(`${name}.down_proj`, hidden, width);
  };
  const layer = (name, width, hidden) => {
    norm(`${name}.attention_norm`, width);
    attention(`${name}.attention`, width);
    norm(`${name}.ffn_norm`, width);
    feedForward(`${name}.ffn`, width, hidden);
  };
  const each = (count, name, write) => Array.from({ length: count }, (_, i) => write(`${name}.${i}`));
  const int8 = (name, rows, columns) => {
    add(`${name}.weight`, [rows, columns], Int8Array.from({ length: rows * columns }, () => whole(255) - 127));
    add(`${name}.weight_scale`, [rows], ones(rows).fill(columns ** -0.5 / 74));
  };
  const convolution = (name, kernel, inputs, outputs, isInt8) => {
    (isInt8 ? (n, columns, rows) => int8(n, rows, columns) : linear)(name, kernel * kernel * inputs, outputs);
    add(`${name}.affine_scale`, [outputs], ones(outputs));
    add(`${name}.affine_bias`, [outputs], floats(outputs, 0.1));
  };

  const { vision: v, hidden_size: d } = c;
  if (v.input === 'pixels') {
    let channels = 3;
    for (const [i, { type, kernel_size, out_channels = channels, weights }] of v.stem.entries()) {
      const name = `vision.stem.${i}`;
      if (type === 'conv') convolution(name, kernel_size, channels, out_channels, weights === 'int8');
      if (type === 'residual') {
        for (const part of [1, 2]) {
          norm(`${name}.norm${part}`, channels);
          convolution(`${name}.conv${part}`, kernel_size, channels, channels, false);
        }
      }
      channels = out_channels;
    }
    add('vision.position_embedding', [v.grid_size ** 2, v.hidden_size], floats(v.grid_size ** 2 * v.hidden_size, 0.1));
    each(v.num_layers, 'vision.layers', (name) => layer(name, v.hidden_size, v.intermediate_size));
    norm('vision.norm', v.hidden_size);
    linear('vision.feature_proj', v.hidden_size, v.feature_size);
  }
  linear('compressor.fc1', v.feature_size, c.compressor.hidden_size);
  linear('compressor.fc2', c.compressor.hidden_size, d);
  norm('compressor.norm', d);
  int8('embedding', c.vocab_size, d);
  // No caption is to end before its time.
  tensors.at(-1).data[c.eos_token_id] = 1e-9;
  each(c.text_encoder.num_layers, 'text_encoder.layers', (name) => layer(name, d, c.text_encoder.intermediate_size));
  norm('text_encoder.norm', d);
  each(c.fusion.num_layers, 'fusion.layers', (name) => {
    norm(`${name}.norm`, d);
    attention(`${name}.attention`, d);
  });
  norm('fusion.norm', d);
  for (const part of ['query_proj', 'value_proj']) linear(`memory.${part}`, d, c.memory.width);
  linear('memory.out_proj', c.memory.width, d);
  norm('memory.out_norm', d);
  each(c.decoder.num_layers, 'decoder.layers', (name) => {
    layer(name, d, c.decoder.intermediate_size);
    for (const part of ['k_proj', 'v_proj']) linear(`${name}.conditioning.${part}`, d, d);
  });
  norm('decoder.norm', d);
  const head = ['bag_of_words', 'words'].find((name) => c[name]); // the latter in earlier configurations
  if (head) {
    const summary = 2 * (v.feature_size + d);
    add(`${head}.center`, [summary], floats(summary, 0.1));
    add(`${head}.scale`, [summary], ones(summary));
    linear(`${head}.proj`, summary, d);
    add(`${head}.bias`, [c.vocab_size], floats(c.vocab_size, 1));
    add(`${head}.rarity`, [c.vocab_size], ones(c.vocab_size));
  }
  return tensors;
}

/** { 'config.json', 'model.safetensors', ... } with the tokenizer and the preprocessing of the trained model. */
export function bitmarModel(config) {
  const trained = (name) => readFileSync(new URL(`../../../models/default/${name}`, import.meta.url));
  return {
    'config.json': JSON.stringify(config),
    'tokenizer.json': trained('tokenizer.json'),
    'preprocessor_config.json': trained('preprocessor_config.json'),
    'model.safetensors': safetensors(tensorsOf(config)),
  };
}
