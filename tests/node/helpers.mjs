// Shared by the tests of the package.
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateSync } from 'node:zlib';

export const ROOT = new URL('../../', import.meta.url);
export const path = (relative) => fileURLToPath(new URL(relative, ROOT));

/** The trained model, and a tiny random one for tests where any will do. */
export const MODEL = process.env.BITMAR_MODEL ?? path('models/default');
export const TINY = path('tests/golden/tiny');
export const SAMPLES = ['cat', 'coffee', 'stairs', 'raccoon', 'astronaut', 'photographer'];

export async function blob(relative) {
  return new Blob([await readFile(path(relative))]);
}

export const sample = (name) => blob(`web/demo/public/samples/${name}.jpg`);
export const fixture = (name) => blob(`tests/node/fixtures/${name}`);

/** A colourful picture that is the same for the same seed. */
export function picture(width, height, seed = 1) {
  const data = new Uint8Array(4 * width * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      data[at++] = (x * 255) / width;
      data[at++] = (y * 255 * seed) / height;
      data[at++] = ((x ^ y) * seed) & 255;
      data[at++] = 255;
    }
  }
  return { data, width, height };
}

export function rgbOf({ data, width, height }) {
  return { data: Uint8Array.from({ length: 3 * width * height }, (_, i) => data[4 * Math.floor(i / 3) + (i % 3)]), width, height };
}

function chunk(type, body) {
  const typed = Buffer.concat([Buffer.from(type), body]);
  const length = Buffer.alloc(4);
  const check = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  check.writeUInt32BE(crc32(typed));
  return Buffer.concat([length, typed, check]);
}

/** The PNG file of an RGBA picture. `claim` writes another width and height into its header. */
export function png({ data, width, height }, claim = { width, height }) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(claim.width, 0);
  header.writeUInt32BE(claim.height, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const rows = Buffer.alloc(height * (4 * width + 1));
  for (let y = 0; y < height; y += 1) rows.set(data.subarray(4 * width * y, 4 * width * (y + 1)), y * (4 * width + 1) + 1);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

/** For assert.rejects: a BitMarError with that code and a message for people. */
export function code(...expected) {
  return (error) => {
    if (error.name !== 'BitMarError') throw error;
    if (!expected.includes(error.code)) throw new Error(`code ${error.code} (${error.message}) instead of ${expected}`, { cause: error });
    return error.message.length > 5;
  };
}

/** The tiny model's files in memory, its config as `change` leaves it. */
export async function tinyFiles(change = () => {}) {
  const text = (name) => readFile(`${TINY}/${name}`, 'utf8');
  const config = JSON.parse(await text('config.json'));
  change(config);
  return {
    config: JSON.stringify(config),
    tokenizer: await text('tokenizer.json'),
    preprocessor: await text('preprocessor_config.json'),
    weights: await readFile(`${TINY}/model.safetensors`),
  };
}

/** The engine's WebAssembly, without the package around it. */
export async function engineModule() {
  const { default: create } = await import(path('wasm/dist/bitmar-simd.mjs'));
  const compiled = await WebAssembly.compile(await readFile(path('wasm/dist/bitmar-simd.wasm')));
  return create({
    instantiateWasm: (imports, receive) => (WebAssembly.instantiate(compiled, imports).then((instance) => receive(instance, compiled)), {}),
    threads: 1,
  });
}

/** An engine of that with a model from a folder. */
export async function engineOf(module, folder = TINY, options = {}) {
  const [config, tokenizer, preprocessor] = await Promise.all(['config.json', 'tokenizer.json', 'preprocessor_config.json'].map((file) => readFile(join(folder, file), 'utf8')));
  const weights = await readFile(join(folder, 'model.safetensors'));
  return module.Engine.load(config, tokenizer, preprocessor, weights, { int8KvCache: false, additiveMemory: false, threads: 1, ...options });
}

/** A tensor of the golden vectors: what PyTorch says of the tiny model. */
export async function golden(name) {
  const file = await readFile(`${TINY}/golden.safetensors`);
  const begin = 8 + Number(file.readBigUInt64LE());
  const { dtype, data_offsets: [from, to] } = JSON.parse(file.subarray(8, begin))[name];
  const bytes = Uint8Array.from(file.subarray(begin + from, begin + to));
  return [...new { U8: Uint8Array, I32: Int32Array, F32: Float32Array }[dtype](bytes.buffer)];
}

/** The tiny model with other weights, in a folder of its own: what it remembers means nothing to the first, and the other way round. */
export async function otherTinyModel(folder) {
  await cp(TINY, folder, { recursive: true });
  const file = await readFile(join(TINY, 'model.safetensors'));
  const dataAt = 8 + Number(file.readBigUInt64LE(0));
  const [begin, end] = JSON.parse(file.toString('utf8', 8, dataAt))['memory.query_proj.weight'].data_offsets;
  file.subarray(dataAt + begin, dataAt + end).reverse(); // other ternary codes, as sound as before
  await writeFile(join(folder, 'model.safetensors'), file);
  return folder;
}
