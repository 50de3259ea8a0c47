// tfjs-wasm (XNNPACK), float32, in the page's own thread. It has no int8.
import { bytes, pictureTime, summary, time, warmUp } from './timing.mjs';

const PACKAGES = '/bench/peers/node_modules/@tensorflow/';
const WASM = `${PACKAGES}tfjs-backend-wasm/wasm-out/`;
const FILES = ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm', 'tfjs-backend-wasm-threaded-simd.wasm'];
const EPSILON = 1e-5;

// The packages' scripts make one global, tf.
async function script(src) {
  const element = Object.assign(document.createElement('script'), { src });
  await new Promise((resolve, reject) => {
    element.onload = resolve;
    element.onerror = reject;
    document.head.append(element);
  });
}
await script(`${PACKAGES}tfjs-core/dist/tf-core.min.js`);
await script(`${PACKAGES}tfjs-backend-wasm/dist/tf-backend-wasm.min.js`);

async function begin(paths, threads) {
  tf.wasm.setWasmPaths(paths);
  tf.wasm.setThreadsCount(threads);
  // One thread: the build without threads.
  if (threads === 1) tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs refused its wasm back end');
  await tf.ready();
}

/** pixels [1, S, S, 3] -> features [P, features]; the same layers as onnx_models.mjs's, without the stem's channel norms. */
function build({ layers, grid_size, hidden_size: d, num_heads, num_layers, intermediate_size, feature_size }) {
  const weight = (shape, fan, gain = 1) => tf.randomUniform(shape, -((3 * gain / fan) ** 0.5), (3 * gain / fan) ** 0.5);
  const linear = (inputs, outputs) => weight([inputs, outputs], inputs);
  const patches = grid_size ** 2;
  const head = d / num_heads;

  const norm = (x) => tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), EPSILON)));
  const convolution = (l, relu) => {
    const filter = weight([l.kernel, l.kernel, l.in, l.out], l.in * l.kernel ** 2, relu ? 2 : 1);
    const bias = tf.randomUniform([l.out], -0.1, 0.1);
    const activation = relu ? 'relu' : 'linear';
    return (x) => tf.fused.conv2d({ x, filter, strides: l.stride, pad: 'same', bias, activation });
  };
  const stem = layers.map((l) => {
    if (l.type === 'max_pool') return (x) => tf.maxPool(x, l.kernel, l.stride, 'same');
    if (l.type === 'conv') return convolution(l, l.relu);
    const [one, two] = [convolution(l, true), convolution(l, false)];
    return (x) => tf.add(x, two(one(x)));
  });
  const position = tf.randomUniform([patches, d], -0.2, 0.2);
  const transformer = Array.from({ length: num_layers }, () => {
    const [q, k, v, o] = [0, 1, 2, 3].map(() => linear(d, d));
    const [up, down] = [linear(d, intermediate_size), linear(intermediate_size, d)];
    const heads = (x, w) => tf.transpose(tf.reshape(tf.matMul(x, w), [patches, num_heads, head]), [1, 0, 2]);
    return (x) => {
      const n = norm(x);
      const scores = tf.softmax(tf.mul(tf.matMul(heads(n, q), heads(n, k), false, true), head ** -0.5));
      const mixed = tf.reshape(tf.transpose(tf.matMul(scores, heads(n, v)), [1, 0, 2]), [patches, d]);
      const y = tf.add(x, tf.matMul(norm(mixed), o));
      const hidden = tf.fused.matMul({ a: norm(y), b: up, activation: 'relu' });
      return tf.add(y, tf.matMul(norm(tf.square(hidden)), down));
    };
  });
  const last = linear(d, feature_size);
  return (pixels) => {
    let x = pixels;
    for (const layer of stem) x = layer(x);
    x = tf.add(tf.reshape(x, [patches, d]), position);
    for (const layer of transformer) x = layer(x);
    return tf.matMul(norm(x), last);
  };
}

const run = (network, pixels, side) => tf.tidy(() => network(tf.tensor(pixels, [1, side, side, 3])).dataSync());

export async function encoder({ vision, pictures, side, threads }) {
  await begin(WASM, threads);
  const network = build(vision);
  const pixels = Float32Array.from({ length: 3 * side * side }, () => Math.random() * 2 - 1);
  const see = () => time(() => run(network, pixels, side));
  await warmUp(see);
  return {
    measure: () => pictureTime(see, pictures),
    check: async () => `SIMD ${tf.env().getBool('WASM_HAS_SIMD_SUPPORT')}, ${threads === 1 ? 1 : tf.wasm.getThreadsCount()} threads, features ${summary(run(network, pixels, side))}`,
  };
}

/** From bytes in memory: runtime compiled, encoder's weights made in it, one picture. No decoder. */
export async function start({ vision, side, threads }) {
  const paths = {};
  for (const file of FILES) paths[file] = URL.createObjectURL(new Blob([await bytes(WASM + file)], { type: 'application/wasm' }));
  const pixels = Float32Array.from({ length: 3 * side * side }, () => Math.random() * 2 - 1);
  return {
    measure: () =>
      time(async () => {
        await begin(paths, threads);
        run(build(vision), pixels, side);
      }),
  };
}
