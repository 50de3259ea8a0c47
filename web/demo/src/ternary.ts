// A picture of the model's own weights, as they lie in its file: -1, 0 and 1, at two bits each.

import { element } from './dom.js';
import { number, text } from './text.js';

/** One matrix of many: what the decoder's first layer asks with. */
const SHOWN = 'decoder.layers.0.attention.q_proj.weight';

let drawing: Promise<void> | undefined;

/** Draws it once; what it needs is a part of the model's file, which is there already. Where that cannot be had, there is no picture. */
export function drawTernary(folder: string): Promise<void> {
  return (drawing ??= draw(folder).catch(() => {
    element('how-weights').hidden = true;
  }));
}

async function draw(folder: string): Promise<void> {
  const canvas = element<HTMLCanvasElement>('how-ternary');
  const response = await fetch(new URL('model.safetensors', new URL(folder, document.baseURI)));
  if (!response.ok) throw new Error(`The weights cannot be fetched: ${response.status}`);
  const file = new Uint8Array(await response.arrayBuffer());
  // safetensors: the length of a JSON header in 8 bytes, the header, the data
  const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes)));
  const { shape, data_offsets } = header[SHOWN] as { shape: [number, number]; data_offsets: [number, number] };
  const [packedRows, columns] = shape;
  const packed = file.subarray(8 + headerBytes + data_offsets[0], 8 + headerBytes + data_offsets[1]);
  const colours = ['--cool', '--card', '--accent'].map((name) => rgbOf(getComputedStyle(canvas).getPropertyValue(name)));
  const image = new ImageData(columns, 4 * packedRows);
  const counts = [0, 0, 0];
  // A byte holds the codes (weight + 1) of four rows, of which the first is `packedRows` above the second.
  packed.forEach((byte, at) => {
    for (let part = 0; part < 4; part++) {
      const code = (byte >> (2 * part)) & 3;
      counts[code]! += 1;
      image.data.set([...colours[code]!, 255], 4 * (at + part * packed.length));
    }
  });
  Object.assign(canvas, { width: columns, height: 4 * packedRows });
  canvas.getContext('2d')!.putImageData(image, 0, 0);
  const of = (count: number) => number(count / (4 * packed.length), 0, { style: 'percent' });
  element('how-ternary-counts').textContent = text('howTernary', { count: number(4 * packed.length), bytes: number(packed.length), minus: of(counts[0]!), zero: of(counts[1]!), plus: of(counts[2]!) });
}

/** Red, green and blue of any colour of the style sheet. */
function rgbOf(colour: string): number[] {
  const context = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d')!;
  context.fillStyle = colour.trim();
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.subarray(0, 3)];
}
