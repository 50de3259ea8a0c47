// The decoder and the image encoder as ONNX graphs, in the form that onnxruntime runs fastest: one product for queries, keys and
// values, its fused attention and norms, constants folded. What ours does and these leave out is in bench/README.md.
import { Graph } from './onnx.mjs';
import { bytes, floats, ones, trits } from './random.mjs';
import { CONTEXT, stemLayers } from './shapes.mjs';

const EPSILON = 1e-5;
const BLOCK = 32; // of MatMulNBits

const zero = (T) => [new T(1), []];

/** x [.., inputs] -> [.., outputs], by kind: f32, int8 (dynamic activations), nbits4, nbits2. `shared` is what quantised() gave. */
function linear(graph, kind, x, inputs, outputs, shared) {
  const scale = (inputs * 2 / 3) ** -0.5;
  if (kind === 'f32') return graph.op('MatMul', [x, graph.constant(floats(inputs * outputs, inputs ** -0.5), [inputs, outputs])]);
  if (kind === 'int8') {
    const [q, s, z] = shared ?? quantised(graph, x);
    const weight = graph.constant(trits(inputs * outputs), [inputs, outputs]);
    return graph.op('ms.MatMulIntegerToFloat', [q, weight, s, graph.constant(scale), z]);
  }
  const bits = Number(kind.slice('nbits'.length));
  const blocks = inputs / BLOCK;
  const weight = graph.constant(bytes((inputs * outputs * bits) / 8), [outputs, blocks, (BLOCK * bits) / 8]);
  const scales = graph.constant(ones(outputs * blocks).fill(scale / (bits === 4 ? 5 : 1.2)));
  // Accuracy level 4: activations as int8.
  return graph.op('ms.MatMulNBits', [x, weight, scales], { K: inputs, N: outputs, bits, block_size: BLOCK, accuracy_level: 4 });
}

const quantised = (graph, x) => graph.op('DynamicQuantizeLinear', [x], {}, 3);

const norm = (graph, x, n) => graph.op('SimplifiedLayerNormalization', [x, graph.constant(ones(n))], { axis: -1, epsilon: EPSILON });

function feedForward(graph, kind, x, width, hidden) {
  const up = graph.op('Relu', [linear(graph, kind, norm(graph, x, width), width, hidden)]);
  const normed = norm(graph, graph.op('Mul', [up, up]), hidden);
  return graph.op('Add', [x, linear(graph, kind, normed, hidden, width)]);
}

/** A function of fused queries, keys and values: rotation, then attention over a cache of its own and themselves. */
function attentionOver(graph, positions, heads, head) {
  const cache = () => graph.constant(floats(positions * heads * head, 1), [1, heads, positions, head]);
  const angles = (f) => {
    const half = head / 2;
    const table = new Float32Array((positions + 1) * half);
    return graph.constant(table.map((_, i) => f(Math.floor(i / half) * 1e4 ** (-(i % half) / half))), [positions + 1, half]);
  };
  const [cos, sin] = [angles(Math.cos), angles(Math.sin)];
  const past = graph.constant(Int32Array.of(positions), [1]);
  const total = graph.constant(Int32Array.of(positions + 1), []);
  return (qkv) => {
    const inputs = [qkv, '', '', cache(), cache(), past, total, cos, sin];
    return graph.op('ms.GroupQueryAttention', inputs, { num_heads: heads, kv_num_heads: heads, do_rotary: 1 }, 3)[0];
  };
}

/**
 * One step: `token` -> `next`, the likeliest, and `peak`, its logit. The cache is a constant of CONTEXT positions: a real one goes
 * into the graph and out again at every step. Without attention it is a bound on what any handling of the cache can reach.
 */
export function decoderGraph(kind, { width, layers, hidden, vocabulary, heads }, { attention = true } = {}) {
  const graph = new Graph();
  const attend = attention ? attentionOver(graph, CONTEXT, heads, width / heads) : undefined;

  const token = graph.input('token', 'BigInt64Array', [1, 1]);
  let x = graph.op('Gather', [graph.constant(floats(vocabulary * width, 1), [vocabulary, width]), token]); // [1, 1, width]
  for (let i = 0; i < layers; i += 1) {
    const qkv = linear(graph, kind, norm(graph, x, width), width, 3 * width);
    const mixed = attention ? attend(qkv) : graph.op('Sum', graph.op('Split', [qkv], { axis: -1 }, 3));
    x = graph.op('Add', [x, linear(graph, kind, norm(graph, mixed, width), width, width)]);
    x = feedForward(graph, kind, x, width, hidden);
  }
  // Our head is int8 whatever the layers are; so is that of the kinds that are no float.
  const logits = linear(graph, kind === 'f32' ? 'f32' : 'int8', norm(graph, x, width), width, vocabulary);
  graph.output('next', graph.op('ArgMax', [logits], { axis: -1, keepdims: 0 }), 'BigInt64Array', [1, 1]);
  graph.output('peak', graph.op('ReduceMax', [logits], { axes: [-1], keepdims: 0 }), 'Float32Array', [1, 1]);
  return graph.file();
}

// ---- Image encoder ----

/** The stem in float32 from `pixels` [1, 3, S, S]; the channel norms of the residuals are left out. */
function floatStem(graph, vision) {
  const convolve = (x, l, relu) => {
    const fan = l.in * l.kernel ** 2;
    const weight = graph.constant(floats(fan * l.out, (relu ? 2 / fan : 1 / fan) ** 0.5), [l.out, l.in, l.kernel, l.kernel]);
    const pad = l.kernel >> 1;
    const attributes = { kernel_shape: [l.kernel, l.kernel], strides: [l.stride, l.stride], pads: [pad, pad, pad, pad] };
    const y = graph.op('Conv', [x, weight, graph.constant(floats(l.out, 0.1))], attributes);
    return relu ? graph.op('Relu', [y]) : y;
  };
  let x = graph.input('pixels', 'Float32Array', [1, 3, vision.image_size, vision.image_size]);
  for (const l of stemLayers(vision)) {
    if (l.type === 'conv') x = convolve(x, l, l.relu);
    else if (l.type === 'residual') x = graph.op('Add', [x, convolve(convolve(x, l, true), l, false)]);
    else x = maxPool(graph, x, l);
  }
  return x;
}

function maxPool(graph, x, l) {
  const pad = l.kernel >> 1;
  return graph.op('MaxPool', [x], { kernel_shape: [l.kernel, l.kernel], strides: [l.stride, l.stride], pads: [pad, pad, pad, pad] });
}

/** The same from uint8 to float32: uint8 maps, int8 weights, static scales. Those of maps cover +-4; values deviate by about 1. */
function int8Stem(graph, vision) {
  const signed = { scale: graph.constant(8 / 255), zero: graph.constant(Uint8Array.of(128), []) };
  const positive = { scale: graph.constant(8 / 255), zero: graph.constant(Uint8Array.of(0), []) };
  const weightZero = graph.constant(...zero(Int8Array));
  const convolve = (x, l, relu) => {
    const fan = l.in * l.kernel ** 2;
    const weight = graph.constant(trits(fan * l.out), [l.out, l.in, l.kernel, l.kernel]);
    const weightScale = graph.constant((((relu ? 2 : 1) * 3) / 2 / fan) ** 0.5);
    const to = relu ? positive : signed; // a zero point of 0 is the rectifier
    const pad = l.kernel >> 1;
    const attributes = { kernel_shape: [l.kernel, l.kernel], strides: [l.stride, l.stride], pads: [pad, pad, pad, pad] };
    const inputs = [x.q, x.form.scale, x.form.zero, weight, weightScale, weightZero, to.scale, to.zero, graph.constant(new Int32Array(l.out))];
    return { q: graph.op('QLinearConv', inputs, attributes), form: to };
  };
  let x = { q: graph.input('pixels', 'Uint8Array', [1, 3, vision.image_size, vision.image_size]), form: signed };
  for (const l of stemLayers(vision)) {
    if (l.type === 'conv') x = convolve(x, l, l.relu);
    else if (l.type === 'residual') {
      const y = convolve(convolve(x, l, true), l, false);
      const parts = [x.q, x.form.scale, x.form.zero, y.q, y.form.scale, y.form.zero, signed.scale, signed.zero];
      x = { q: graph.op('ms.QLinearAdd', parts), form: signed };
    } else x = { q: maxPool(graph, x.q, l), form: x.form };
  }
  return graph.op('DequantizeLinear', [x.q, x.form.scale, x.form.zero]);
}

/** `pixels` [1, 3, S, S] (float32 or uint8) -> `features` [1, P, features]. kind: f32 or int8. */
export function encoderGraph(kind, vision) {
  const graph = new Graph();
  const { grid_size, hidden_size: d, num_heads, num_layers, intermediate_size, feature_size } = vision;
  const patches = grid_size ** 2;
  const grid = kind === 'int8' ? int8Stem(graph, vision) : floatStem(graph, vision);
  const rows = graph.op('Reshape', [grid, graph.constant(BigInt64Array.of(1n, BigInt(d), BigInt(patches)))]);
  let x = graph.op('Transpose', [rows], { perm: [0, 2, 1] });
  x = graph.op('Add', [x, graph.constant(floats(patches * d, 0.1), [1, patches, d])]);
  for (let i = 0; i < num_layers; i += 1) {
    const normed = norm(graph, x, d);
    const shared = kind === 'int8' ? quantised(graph, normed) : undefined;
    const [q, k, v] = [0, 1, 2].map(() => linear(graph, kind, normed, d, d, shared));
    const mixed = graph.op('ms.MultiHeadAttention', [q, k, v], { num_heads });
    x = graph.op('Add', [x, linear(graph, kind, norm(graph, mixed, d), d, d)]);
    x = feedForward(graph, kind, x, d, intermediate_size);
  }
  graph.output('features', linear(graph, kind, norm(graph, x, d), d, feature_size), 'Float32Array', [1, patches, feature_size]);
  return graph.file();
}
