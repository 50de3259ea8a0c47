// The decoder as llama.cpp's architecture `arcee`: rotary attention and relu(x)^2 without a gate, as ours.
// Ternary or 8-bit layers with random weights; the tied embedding is 8-bit, as ours is.
import { PROMPT, FIRST, TOKENS } from './shapes.mjs';
import { ones, whole } from './random.mjs';

const ALIGNMENT = 32;
const [UINT32, FLOAT32, STRING, ARRAY] = [4, 6, 8, 9]; // types of values

// id, elements a block, and how a block of random weights is filled: a half-precision scale (0x2800 is 2^-5) and codes.
const FORMATS = {
  F32: { id: 0 },
  // 32 int8 behind their scale; 0x0c00 is 2^-12
  Q8_0: { id: 8, elements: 32, bytes: 34, block: () => [0x00, 0x0c, ...codes(32, () => whole(256))] },
  // 256 codes {0, 1, 2}, four to a byte, before their scale
  TQ2_0: { id: 35, elements: 256, block: () => [...codes(64, fourTrits), 0x00, 0x28] },
};

const fourTrits = () => whole(3) | (whole(3) << 2) | (whole(3) << 4) | (whole(3) << 6);
const codes = (n, code) => Array.from({ length: n }, code);

class Writer {
  #parts = [];
  length = 0;

  bytes(data) {
    this.#parts.push(data);
    this.length += data.byteLength;
    return this;
  }
  number(method, size, value) {
    const part = Buffer.alloc(size);
    part[method](value);
    return this.bytes(part);
  }
  u32 = (value) => this.number('writeUInt32LE', 4, value);
  u64 = (value) => this.number('writeBigUInt64LE', 8, BigInt(value));
  f32 = (value) => this.number('writeFloatLE', 4, value);
  string = (text) => this.u64(Buffer.byteLength(text)).bytes(Buffer.from(text));
  align = () => this.bytes(Buffer.alloc((ALIGNMENT - (this.length % ALIGNMENT)) % ALIGNMENT));
  file = () => Buffer.concat(this.#parts);

  // One entry of the header.
  entry(key, value) {
    this.string(key);
    if (typeof value === 'string') this.u32(STRING).string(value);
    else if (Array.isArray(value)) this.u32(ARRAY).#array(value);
    else if (value instanceof Float32Array) this.u32(FLOAT32).f32(value[0]);
    else this.u32(UINT32).u32(value);
  }
  #array(values) {
    const type = typeof values[0] === 'string' ? STRING : FLOAT32;
    this.u32(type).u64(values.length);
    for (const value of values) (type === STRING ? this.string : this.f32)(value);
  }
}

function weights(format, count) {
  if (format === 'F32') return Buffer.from(ones(count).buffer);
  const { elements, block } = FORMATS[format];
  if (count % elements) throw new Error(`${count} weights are no whole number of ${format} blocks`);
  return Buffer.concat(Array.from({ length: count / elements }, () => Buffer.from(block())));
}

/**
 * The embedding, tied to the output, whose first rows are 2^-6 of the others: no model says these tokens, which are bytes and may be no
 * UTF-8, where llama.cpp throws. What a decoder makes of them is normalised first.
 */
function embedding(width, vocabulary, small) {
  const data = weights('Q8_0', width * vocabulary);
  const { elements, bytes } = FORMATS.Q8_0;
  for (let at = 0; at < (small * width * bytes) / elements; at += bytes) data.writeUInt16LE(0x0040, at);
  return data;
}

/** format: TQ2_0 or Q8_0, of every layer's matrices. */
export function decoderGguf(format, { width, layers, hidden, vocabulary, heads }) {
  const tensors = [];
  const matrix = (name, inputs, outputs, type = format) => tensors.push({ name: `${name}.weight`, shape: [inputs, outputs], type });
  const norm = (name) => tensors.push({ name: `${name}.weight`, shape: [width], type: 'F32' });
  const special = ['<unk>', '<s>', '</s>'];
  const byteTokens = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  matrix('token_embd', width, vocabulary, 'Q8_0');
  tensors[0].data = embedding(width, vocabulary, special.length + byteTokens.length);
  norm('output_norm');
  for (let i = 0; i < layers; i += 1) {
    norm(`blk.${i}.attn_norm`);
    for (const part of ['q', 'k', 'v', 'output']) matrix(`blk.${i}.attn_${part}`, width, width);
    norm(`blk.${i}.ffn_norm`);
    matrix(`blk.${i}.ffn_up`, width, hidden);
    matrix(`blk.${i}.ffn_down`, hidden, width);
  }

  // llama.cpp wants every byte as a token of its own; the rest are words that no prompt here holds.
  const words = Array.from({ length: vocabulary - special.length - byteTokens.length }, (_, i) => `\u2581w${i}`);
  const entries = {
    'general.architecture': 'arcee',
    'arcee.context_length': 2 * (PROMPT + FIRST + TOKENS),
    'arcee.embedding_length': width,
    'arcee.block_count': layers,
    'arcee.feed_forward_length': hidden,
    'arcee.attention.head_count': heads,
    'arcee.attention.layer_norm_rms_epsilon': Float32Array.of(1e-5),
    'arcee.rope.dimension_count': width / heads,
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': [...special, ...byteTokens, ...words],
    'tokenizer.ggml.scores': Array.from({ length: vocabulary }, (_, i) => -i),
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
  };

  const out = new Writer();
  out.bytes(Buffer.from('GGUF')).u32(3).u64(tensors.length).u64(Object.keys(entries).length + 1);
  for (const [key, value] of Object.entries(entries)) out.entry(key, value);
  out.string('tokenizer.ggml.token_type').u32(ARRAY).u32(5).u64(vocabulary); // int32: unknown 2, control 3, byte 6, word 1
  for (const type of [2, 3, 3, ...byteTokens.map(() => 6), ...words.map(() => 1)]) out.u32(type);
  let offset = 0;
  for (const tensor of tensors) {
    tensor.data ??= weights(tensor.type, tensor.shape.reduce((a, b) => a * b));
    out.string(tensor.name).u32(tensor.shape.length);
    for (const size of tensor.shape) out.u64(size);
    out.u32(FORMATS[tensor.type].id).u64(offset);
    offset += Math.ceil(tensor.data.length / ALIGNMENT) * ALIGNMENT;
  }
  out.align();
  for (const { data } of tensors) out.bytes(data).align();
  return out.file();
}
