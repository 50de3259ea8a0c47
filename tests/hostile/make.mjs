// Makes the table of hostile inputs: files that claim, hide, repeat or contradict, and what must become of each.
//
//     node tests/hostile/make.mjs FOLDER
//
// FOLDER then has the inputs and table.json, a list of { name, kind, path, codes, frames, honest }. A case passes if it ends with one of `codes`,
// soon and in little memory; 'ok' is what ends without an error. What is `honest` may take as long and as much memory as it does. A journal with `frames` is several, each behind four bytes of its length. Natively tests/hostile/run.cpp tries each in a process of its own,
// under node tests/node/hostile.test.mjs.
import { mkdir, open, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateRawSync, deflateSync } from 'node:zlib';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const GOLDEN = join(HERE, '../golden');
const TINY = join(GOLDEN, 'tiny');
const FILES = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', safetensors: 'model.safetensors' };

const ANY_IMAGE = ['ok', 'invalid_image', 'unsupported_image', 'image_too_large', 'out_of_memory'];
const MODEL = ['invalid_model'];
const CONFIG = ['invalid_config'];
const STATE = ['invalid_state'];

/** The same numbers for the same seed: Numerical Recipes' generator. */
function random(seed) {
  let state = seed;
  return (n) => Math.floor(((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
}

// ---- JPEG (ITU T.81, annex B) ----

const u16 = (v) => [(v >> 8) & 255, v & 255];
const segment = (marker, ...body) => Buffer.from([0xff, marker, ...u16(body.flat(Infinity).length + 2), ...body.flat(Infinity)]);
const SOI = Buffer.from([0xff, 0xd8]);
const EOI = Buffer.from([0xff, 0xd9]);
const DQT = segment(0xdb, 0, Array(64).fill(1));
/** Two codes, of one bit each but for the all-ones that is none: 0 -> `first`, 10 -> `second`. */
const table = (index, first, second) => segment(0xc4, index, [1, 1, ...Array(14).fill(0)], first, second);
const TABLES = Buffer.concat([table(0x00, 0, 1), table(0x10, 0, 1)]);
const frame = ({ progressive = false, width, height, parts = [[1, 0x11]], precision = 8 }) =>
  segment(progressive ? 0xc2 : 0xc0, precision, u16(height), u16(width), parts.length, parts.map(([id, sampling]) => [id, sampling, 0]));
const scan = (ids, bytes, [first, last, high, low] = [0, 63, 0, 0]) =>
  Buffer.concat([segment(0xda, ids.length, ids.map((id) => [id, 0]), first, last, (high << 4) | low), Buffer.alloc(bytes)]);
const jpeg = (...rest) => Buffer.concat([SOI, DQT, ...rest, EOI]);
const YCC = [[1, 0x22], [2, 0x11], [3, 0x11]];

async function jpegs(add) {
  const photo = (name, file, ...codes) => add('photo', `jpeg-${name}`, file, codes.length ? codes : ['invalid_image']);
  photo('slow-progressive', await readFile(join(HERE, 'slow-progressive.jpg')), 'image_too_large');
  photo('stb-shift', await readFile(join(HERE, 'stb-shift.jpg')), ...ANY_IMAGE);
  // More pixels than there are bits.
  for (const [width, height] of [[6320, 6320], [16384, 2441], [12000, 3333], [8000, 5000], [5000, 2500]]) {
    for (const progressive of [false, true]) {
      const file = jpeg(TABLES, frame({ progressive, width, height }), scan([1], 1000, progressive ? [0, 0, 0, 0] : undefined));
      photo(`claims-${width}x${height}-${progressive ? 'progressive' : 'baseline'}`, file, 'image_too_large');
    }
  }
  for (const [width, height] of [[4000, 3000], [16384, 700], [700, 16384], [3000, 3000], [1000, 1000], [257, 255]]) {
    photo(`hollow-${width}x${height}`, jpeg(TABLES, frame({ width, height, parts: YCC }), scan([1, 2, 3], 200)));
    photo(`hollow-dc-${width}x${height}`, jpeg(TABLES, frame({ progressive: true, width, height }), scan([1], 60, [0, 0, 0, 0])));
  }
  photo('claims-65535x65535', jpeg(TABLES, frame({ width: 65535, height: 65535 }), scan([1], 10)), 'image_too_large');
  // Scans that cost the whole image and bring nothing.
  for (const [name, scans, band] of [
    ['ac-refinement', 99, [1, 63, 1, 0]], ['ac-first', 500, [1, 63, 0, 0]], ['ac-one', 5000, [5, 5, 0, 1]], ['ac-last', 2000, [63, 63, 3, 2]],
  ]) {
    const width = 4000, height = 3000, dc = scan([1], 24000, [0, 0, 0, 1]);
    const more = Array.from({ length: scans }, () => scan([1], 4, band));
    photo(`scans-${name}`, jpeg(TABLES, frame({ progressive: true, width, height }), dc, ...more), 'image_too_large');
  }
  const dcOnly = Array.from({ length: 400 }, () => scan([1], 30000, [0, 0, 1, 0]));
  photo('scans-dc-refinement', jpeg(TABLES, frame({ progressive: true, width: 4000, height: 3000 }), scan([1], 24000, [0, 0, 0, 1]), ...dcOnly), ...ANY_IMAGE);
  photo('scans-baseline', jpeg(TABLES, frame({ width: 3000, height: 3000 }), ...Array.from({ length: 60 }, () => scan([1], 36000))), 'image_too_large');
  photo('scans-of-8x8', jpeg(TABLES, frame({ progressive: true, width: 8, height: 8 }), ...Array.from({ length: 20000 }, () => scan([1], 1, [1, 63, 0, 0]))), ...ANY_IMAGE);
  // Work and pixels paid for with what is no pixel: comments, tables, a text behind the image.
  const comments = (bytes) => Array(Math.ceil(bytes / 65533)).fill(segment(0xfe, Array(65533).fill(65)));
  const refinements = Array.from({ length: 118 }, () => scan([1], 4, [1, 63, 1, 0]));
  const dc = scan([1], 24000, [0, 0, 0, 1]);
  photo('scans-padded', jpeg(TABLES, ...comments(8 << 20), frame({ progressive: true, width: 4000, height: 3000 }), dc, ...refinements), 'image_too_large');
  photo('scans-padded-behind', jpeg(TABLES, frame({ progressive: true, width: 4000, height: 3000 }), dc, ...refinements, ...comments(8 << 20)), 'image_too_large');
  photo('scans-of-coded-bytes', jpeg(TABLES, frame({ progressive: true, width: 4000, height: 3000 }), scan([1], 8 << 20, [0, 0, 0, 1]), ...refinements), 'image_too_large');
  const most = { width: 8000, height: 5000, parts: [[1, 0x11], [2, 0x11], [3, 0x11]] };
  photo('40-megapixels-padded', jpeg(TABLES, ...comments(400000), frame({ ...most, progressive: true, parts: [[1, 0x11]] }), scan([1], 80000, [0, 0, 0, 0])), 'image_too_large');
  photo('40-megapixels-thin', jpeg(TABLES, frame({ ...most, progressive: true }), scan([1, 2, 3], 300000, [0, 0, 0, 0])), 'image_too_large');
  photo('40-megapixels-progressive-megabyte', jpeg(TABLES, frame({ ...most, progressive: true }), scan([1, 2, 3], 1 << 20, [0, 0, 0, 0])), 'image_too_large');
  photo('40-megapixels-baseline', jpeg(TABLES, frame(most), scan([1, 2, 3], 480000)), ...ANY_IMAGE);
  // And as many in as many bytes as a camera writes: each coefficient takes three bits, 100.
  const bits = (blocks) => Buffer.alloc(Math.ceil((blocks * 64 * 3) / 8) + 8, Buffer.from([0x92, 0x49, 0x24]));
  const coded = (ids, blocks, band) => Buffer.concat([scan(ids, 0, band), bits(blocks)]);
  const honest = (name, progressive, ...scans) =>
    add('photo', `honest-${name}`, jpeg(TABLES, frame({ width: 8000, height: 5000, parts: YCC, progressive }), ...scans), ['ok'], { honest: true });
  honest('40-megapixels', false, coded([1, 2, 3], 500 * 313 * 6));
  honest('40-megapixels-progressive', true, coded([1, 2, 3], (500 * 313 * 6) / 32, [0, 0, 0, 1]), ...[1, 2, 3].map((id) => coded([id], id === 1 ? 625000 : 157000, [1, 63, 0, 1])));
  photo('tables-10-megabytes', jpeg(Buffer.concat(Array(209715).fill(TABLES)), frame({ width: 16, height: 16 }), scan([1], 40)), 'image_too_large');
  photo('tables-packed', jpeg(TABLES, ...Array(160).fill(segment(0xc4, Array(3400).fill([0x10, 1, 1, ...Array(14).fill(0), 0, 1]))), frame({ width: 16, height: 16 }), scan([1], 40)), 'image_too_large');
  photo('tables-coded', jpeg(frame({ width: 16, height: 16 }), ...Array(3).fill(scan([1], 1 << 20)), ...Array(80).fill(segment(0xc4, Array(3400).fill([0x10, 1, 1, ...Array(14).fill(0), 0, 1]))), scan([1], 40)), 'image_too_large');
  photo('quantisation-10-megabytes', jpeg(Buffer.concat(Array(150000).fill(DQT)), TABLES, frame({ width: 16, height: 16 }), scan([1], 40)), ...ANY_IMAGE);
  photo('97-megabytes', jpeg(TABLES, frame({ width: 16, height: 16 }), scan([1], 97 << 20)), 'image_too_large');
  // Segments that contradict themselves.
  const small = { width: 16, height: 16 }, data = scan([1], 40);
  const broken = {
    'length-0': jpeg(Buffer.from([0xff, 0xdb, 0, 0]), frame(small), data),
    'length-1': jpeg(Buffer.from([0xff, 0xe0, 0, 1]), frame(small), data),
    'length-beyond': jpeg(frame(small), Buffer.from([0xff, 0xfe, 0xff, 0xff])),
    'no-frame': jpeg(TABLES, data),
    'no-scan': jpeg(TABLES, frame(small)),
    'two-frames': jpeg(TABLES, frame(small), frame(small), data),
    'no-width': jpeg(TABLES, frame({ width: 0, height: 16 }), data),
    'no-height': jpeg(TABLES, frame({ width: 16, height: 0 }), data),
    'two-channels': jpeg(TABLES, frame({ ...small, parts: [[1, 0x11], [2, 0x11]] }), data),
    'sampling-0': jpeg(TABLES, frame({ ...small, parts: [[1, 0x01]] }), data),
    'sampling-5': jpeg(TABLES, frame({ ...small, parts: [[1, 0x51]] }), data),
    'sampling-fraction': jpeg(TABLES, frame({ ...small, parts: [[1, 0x33], [2, 0x21], [3, 0x11]] }), scan([1, 2, 3], 400)),
    'scan-of-nobody': jpeg(TABLES, frame(small), scan([9], 40)),
    'scan-of-none': jpeg(TABLES, frame(small), segment(0xda, 0, 0, 63, 0)),
    'scan-of-four': jpeg(TABLES, frame(small), scan([1, 1, 1, 1], 40)),
    'scan-backwards': jpeg(TABLES, frame({ ...small, progressive: true }), scan([1], 40, [40, 3, 0, 0])),
    'scan-beyond': jpeg(TABLES, frame({ ...small, progressive: true }), scan([1], 40, [1, 200, 0, 0])),
    'scan-in-scan': jpeg(TABLES, frame(small), data, Buffer.from([0xff, 0xd8])),
    'codes-4080': jpeg(segment(0xc4, 0, Array(16).fill(255)), frame(small), data),
    'codes-missing': jpeg(segment(0xc4, 0, [200, ...Array(15).fill(0)]), frame(small), data),
    'codes-head': jpeg(segment(0xc4, 0, 1, 2), frame(small), data),
    'fill-bytes': Buffer.concat([SOI, Buffer.alloc(100000, 0xff)]),
    'zeros-behind': Buffer.concat([SOI, Buffer.alloc(100000)]),
    'only-soi': Buffer.concat([SOI, Buffer.from([0xff])]),
  };
  for (const [name, file] of Object.entries(broken)) photo(name, file);
  photo('arithmetic', jpeg(segment(0xc9, 8, u16(16), u16(16), 1, 1, 0x11, 0), data), 'unsupported_image');
  photo('lossless', jpeg(segment(0xc3, 8, u16(16), u16(16), 1, 1, 0x11, 0), data), 'unsupported_image');
  photo('12-bit', jpeg(TABLES, frame({ ...small, precision: 12 }), data), 'unsupported_image');
  photo('cmyk', jpeg(TABLES, frame({ ...small, parts: [[1, 0x11], [2, 0x11], [3, 0x11], [4, 0x11]] }), scan([1, 2, 3, 4], 100)), 'ok');
  const four = { width: 6300, height: 6300, parts: [1, 2, 3, 4].map((id) => [id, 0x11]) };
  photo('cmyk-40-megapixels', jpeg(TABLES, frame(four), scan([1, 2, 3, 4], 700000)), ...ANY_IMAGE);
  photo('cmyk-40-megapixels-progressive', jpeg(TABLES, frame({ ...four, progressive: true }), scan([1, 2, 3, 4], 700000, [0, 0, 0, 0])), 'image_too_large');
  photo('five-channels', jpeg(TABLES, frame({ ...small, parts: [1, 2, 3, 4, 5].map((id) => [id, 0x11]) }), data));
  // What is mended takes a copy: stray bytes between segments, and none of the tables.
  const stray = (bytes, byte) => Buffer.alloc(bytes, byte);
  photo('stray-zeros', jpeg(TABLES, stray(20 << 20, 0), frame(small), data), 'ok');
  photo('stray-markers', jpeg(TABLES, stray(20 << 20, Buffer.from([0xff, 0xd3])), frame(small), data), 'ok');
  photo('stray-after-the-scan', jpeg(TABLES, frame(small), data, stray(20 << 20, Buffer.from([0xff, 0x00]))), ...ANY_IMAGE);
  photo('90-megabytes-stray', jpeg(stray(90 << 20, 65), frame(small), data), 'ok');
  photo('90-megabytes-of-segments', jpeg(TABLES, stray(90 << 20, Buffer.from([0xff, 0xfe, 0, 2])), stray(1, 0), frame(small), data), ...ANY_IMAGE);
  photo('no-tables', jpeg(frame(small), data), ...ANY_IMAGE);
  photo('restart-every-block', jpeg(TABLES, segment(0xdd, u16(1)), frame({ width: 2000, height: 2000 }), scan([1], 20000)), ...ANY_IMAGE);
  photo('many-tables', jpeg(...Array(30000).fill(TABLES), frame(small), data), ...ANY_IMAGE);
  photo('many-comments', jpeg(TABLES, ...Array(100000).fill(segment(0xfe)), frame(small), data), ...ANY_IMAGE);
  const exif = (...tiff) => segment(0xe1, [...Buffer.from('Exif\0\0')], tiff.flat());
  const tiff = [0x4d, 0x4d, 0, 42];
  for (const [name, body] of Object.entries({
    'exif-beyond': [...tiff, 0xff, 0xff, 0xff, 0xff], 'exif-count': [...tiff, 0, 0, 0, 8, 0xff, 0xff], 'exif-empty': [], 'exif-cut': [...tiff, 0, 0],
    'exif-orientation-99': [...tiff, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 99, 0, 0],
  })) photo(name, jpeg(exif(body), TABLES, frame(small), data), ...ANY_IMAGE);
}

// ---- PNG ----

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
function chunk(type, body = Buffer.alloc(0)) {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const whole = Buffer.alloc(typed.length + 8);
  whole.writeUInt32BE(body.length);
  typed.copy(whole, 4);
  whole.writeUInt32BE(crc32(typed), typed.length + 4);
  return whole;
}
function ihdr(width, height, depth = 8, colour = 2, interlaced = 0) {
  const body = Buffer.alloc(13);
  body.writeUInt32BE(width);
  body.writeUInt32BE(height, 4);
  body.set([depth, colour, 0, 0, interlaced], 8);
  return chunk('IHDR', body);
}
const png = (...chunks) => Buffer.concat([SIGNATURE, ...chunks, chunk('IEND')]);

/** Deflate's blocks of own codes (RFC 1951, 3.2.7), 100 bits each, that hold nothing. */
function emptyBlocks(bytes) {
  let bits = '';
  const put = (value, n) => { for (let i = 0; i < n; i += 1) bits += (value >> i) & 1; };
  for (let block = 0; block < 8; block += 1) {
    put(0, 1), put(2, 2), put(0, 5), put(0, 5), put(14, 4);
    for (const length of [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]) put(length === 18 || length === 1 ? 1 : 0, 3);
    put(1, 1), put(127, 7), put(1, 1), put(107, 7); // 138 and 118 symbols without a code
    put(0, 1), put(0, 1), put(0, 1); // the end's code, a distance's, and the end
  }
  const eight = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt([...byte].reverse().join(''), 2)));
  return Buffer.concat(Array(Math.ceil(bytes / eight.length)).fill(eight));
}

/** Blocks of the fixed codes, ten bits each, that hold nothing. */
const emptyFixedBlocks = (bytes) => Buffer.alloc(bytes - (bytes % 5), Buffer.from([0x02, 0x08, 0x20, 0x80, 0x00]));

async function pngs(add) {
  const photo = (name, file, ...codes) => add('photo', `png-${name}`, file, codes.length ? codes : ['invalid_image']);
  const zeros = (bytes) => chunk('IDAT', deflateSync(Buffer.alloc(bytes)));
  for (const [width, height, depth, colour] of [[6320, 6320, 8, 2], [6320, 6320, 16, 6], [16384, 2441, 8, 6], [8000, 5000, 1, 0], [8000, 5000, 8, 3], [5000, 4000, 16, 2]]) {
    photo(`claims-${width}x${height}-${depth}-${colour}`, png(ihdr(width, height, depth, colour), zeros(1000)), 'image_too_large');
  }
  for (const [width, height, depth, colour] of [[3400, 3400, 8, 2], [3000, 3000, 8, 6], [3400, 3400, 16, 0], [3000, 4000, 8, 0], [16384, 700, 8, 2]]) {
    photo(`hollow-${width}x${height}-${depth}-${colour}`, png(ihdr(width, height, depth, colour), zeros(1000)));
  }
  photo('claims-2147483647', png(ihdr(0x7fffffff, 0x7fffffff), zeros(100)), 'image_too_large');
  photo('claims-4294967295', png(ihdr(0xffffffff, 1), zeros(100)));
  photo('flat-12-megapixels', png(ihdr(4000, 3000, 8, 0), zeros(4001 * 3000)), 'ok');
  // A thousandth of its pixels' bytes, and what makes up the rest is no pixel; and what is nothing but blocks of nothing.
  const text = (bytes) => chunk('tEXt', Buffer.alloc(bytes, 65));
  photo('40-megapixels-padded', png(ihdr(8000, 5000), text(350000), zeros(5000 * 24001)), 'image_too_large');
  photo('40-megapixels-1-bit', png(ihdr(8000, 5000, 1, 0), text(350000), zeros(5000 * 1001)), 'image_too_large');
  photo('40-megapixels-palette', png(ihdr(8000, 5000, 8, 3), chunk('PLTE', Buffer.alloc(768)), text(350000), zeros(5000 * 8001)), 'image_too_large');
  photo('40-megapixels-rgba', png(ihdr(8000, 5000, 8, 6), text(600000), zeros(5000 * 32001)), 'image_too_large');
  photo('30-megapixels-rgba16', png(ihdr(6000, 5000, 16, 6), chunk('IDAT', Buffer.alloc(600000))), 'image_too_large');
  photo('29-megapixels-interlaced', png(ihdr(5800, 5000, 8, 2, 1), chunk('IDAT', Buffer.alloc(500000))), ...ANY_IMAGE);
  photo('blocks-of-nothing', png(ihdr(16, 12), chunk('IDAT', Buffer.concat([Buffer.from([0x78, 1]), emptyBlocks(10 << 20)]))), 'image_too_large');
  photo('blocks-stored', png(ihdr(16, 12), chunk('IDAT', Buffer.concat([Buffer.from([0x78, 1]), Buffer.alloc(10 << 20, Buffer.from([0, 0, 0, 255, 255]))]))), 'image_too_large');
  // As many as an image of that size may have bytes, before it and in its place.
  const [side, pixels] = [3460, deflateRawSync(Buffer.alloc(3460 * (1 + 3 * 3460)))];
  for (const [name, blocks, ...codes] of [
    ['tables', emptyBlocks(35 << 20), 'image_too_large'], ['fixed', emptyFixedBlocks(35 << 20), 'ok'], ['stored', Buffer.alloc(35 << 20, Buffer.from([0, 0, 0, 255, 255])), 'ok'],
  ]) {
    const zlib = Buffer.concat([Buffer.from([0x78, 1]), blocks]);
    photo(`many-blocks-of-nothing-${name}`, png(ihdr(side, side), chunk('IDAT', Buffer.concat([zlib, pixels]))), ...codes);
    photo(`only-blocks-of-nothing-${name}`, png(ihdr(side, side), chunk('IDAT', zlib)), name === 'tables' ? 'image_too_large' : 'invalid_image');
  }
  for (const type of ['zTXt', 'iCCP', 'iTXt']) {
    photo(`bomb-in-${type}`, png(ihdr(16, 12), chunk(type, Buffer.concat([Buffer.from('a\0\0'), deflateSync(Buffer.alloc(200 << 20))])), zeros(12 * 49)), 'ok');
  }
  // A megabyte that wants several hundred.
  const noise = (bytes) => chunk('IDAT', Buffer.alloc(bytes, 0x55));
  photo('megabyte-of-rgba16', png(ihdr(7000, 5600, 16, 6), noise(1 << 20)), 'image_too_large');
  photo('megabyte-interlaced', png(ihdr(7000, 5600, 8, 6, 1), noise(1 << 20)), 'image_too_large');
  photo('megabyte-of-palette-interlaced', png(ihdr(7000, 5600, 8, 3, 1), chunk('PLTE', Buffer.alloc(768)), noise(1 << 20)), ...ANY_IMAGE);
  photo('flat-rgba16', png(ihdr(3464, 3464, 16, 6), zeros(1000 + 3464 * (1 + 3464 * 8))), 'image_too_large');
  photo('bomb', png(ihdr(16, 12), zeros(200 << 20)), ...ANY_IMAGE);
  photo('bomb-interlaced', png(ihdr(16, 12, 8, 2, 1), zeros(50 << 20)), ...ANY_IMAGE);
  photo('idats-of-nothing', png(ihdr(16, 12), ...Array(100000).fill(chunk('IDAT')), zeros(12 * 49)), ...ANY_IMAGE);
  photo('no-palette', png(ihdr(16, 12, 8, 3), zeros(12 * 17)), ...ANY_IMAGE);
  photo('palette-beyond', png(ihdr(16, 12, 8, 3), chunk('PLTE', Buffer.alloc(3)), chunk('IDAT', deflateSync(Buffer.alloc(12 * 17, 0xf0)))), ...ANY_IMAGE);
  photo('palette-of-1000', png(ihdr(16, 12, 8, 3), chunk('PLTE', Buffer.alloc(3000)), zeros(12 * 17)));
  for (const [depth, colour] of [[3, 2], [0, 2], [255, 0], [8, 1], [8, 5], [8, 7], [8, 255], [16, 3], [1, 6]]) {
    photo(`kind-${depth}-${colour}`, png(ihdr(16, 12, depth, colour), zeros(2000)), 'invalid_image', 'ok');
  }
  photo('length-beyond', Buffer.concat([SIGNATURE, ihdr(16, 12), Buffer.from([0x7f, 0xff, 0xff, 0xff]), Buffer.from('IDAT')]));
  photo('no-header', png(zeros(100)));
  photo('two-headers', png(ihdr(16, 12), ihdr(6000, 6000), zeros(12 * 49)), ...ANY_IMAGE);
  photo('no-data', png(ihdr(16, 12)));
  photo('empty-data', png(ihdr(16, 12), chunk('IDAT')), 'unsupported_image');
  photo('no-end', Buffer.concat([SIGNATURE, ihdr(16, 12), zeros(12 * 49)]));
  photo('animated', png(ihdr(16, 12), chunk('acTL', Buffer.alloc(8)), zeros(12 * 49), chunk('fdAT', Buffer.alloc(1 << 20))), 'ok');
  photo('exif-damaged', png(ihdr(16, 12), chunk('eXIf', Buffer.from('MM\0*\xff\xff\xff\xff', 'latin1')), zeros(12 * 49)), 'ok');
  photo('40-megapixels-palette-transparent', png(ihdr(8000, 5000, 8, 3), chunk('PLTE', Buffer.alloc(768)), chunk('tRNS', Buffer.alloc(256)), zeros(5000 * 8001)), ...ANY_IMAGE);
  photo('unknown-critical', png(ihdr(16, 12), chunk('QQQQ'), zeros(12 * 49)), ...ANY_IMAGE);
  photo('filters', png(ihdr(16, 12), chunk('IDAT', deflateSync(Buffer.alloc(12 * 49, 0xee)))));
  photo('text-8-megabytes', png(ihdr(16, 12), chunk('tEXt', Buffer.alloc(8 << 20, 65)), zeros(12 * 49)), 'ok');
}

/** Golden pictures with a few bytes changed. */
async function damaged(add) {
  const names = ['rgb.png', 'rgba.png', 'palette.png', 'grey16.png', 'animated.png', 'key.png', 'interlaced-rgba.png', 'cmyk.jpg', 'mjpeg.jpg', 'rgb.jpg', 'progressive.jpg', 'grey.jpg', 'orientation6.jpg'];
  for (const [i, name] of names.entries()) {
    const whole = await readFile(join(GOLDEN, 'images', name));
    const next = random(1 + i);
    for (let round = 0; round < 5; round += 1) {
      const file = Buffer.from(whole);
      for (let n = 1 + next(4); n > 0; n -= 1) file[2 + next(file.length - 2)] = [0, 1, 0x7f, 0x80, 0xff, 0xc0, 0xc2, 0xda][next(8)];
      if (name.endsWith('.png')) mendChecksums(file);
      add('photo', `damaged-${round}-${name}`, file, ANY_IMAGE);
    }
    add('photo', `cut-${name}`, whole.subarray(0, whole.length >> 1), ['invalid_image']);
  }
  for (const name of ['bomb.png', 'huge.png', 'empty.png', 'photo.gif', 'photo.webp', 'photo.bmp', 'photo.tiff']) {
    add('photo', `golden-${name}`, await readFile(join(GOLDEN, 'images', name)), ANY_IMAGE.slice(1).concat(name === 'bomb.png' ? 'ok' : []));
  }
}

/** So that damage gets as far as the decoder. */
function mendChecksums(file) {
  for (let at = 8; at + 12 <= file.length; ) {
    const length = file.readUInt32BE(at);
    if (length > file.length - at - 12) return;
    file.writeUInt32BE(crc32(file.subarray(at + 4, at + 8 + length)), at + 8 + length);
    at += 12 + length;
  }
}

// ---- Models ----

function safetensors(header, body = Buffer.alloc(0), length) {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(length ?? text.length));
  return Buffer.concat([size, text, body]);
}

async function weights(add) {
  const whole = await readFile(join(TINY, FILES.safetensors));
  const headerBytes = Number(whole.readBigUInt64LE());
  const header = JSON.parse(whole.toString('utf8', 8, 8 + headerBytes));
  const file = (name, bytes, codes = MODEL) => add('safetensors', `weights-${name}`, bytes, codes);
  file('empty', Buffer.alloc(0));
  file('seven-bytes', Buffer.alloc(7));
  for (const length of [0, 1, 2n ** 20n + 1n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) file(`header-of-${length}`, safetensors('{}', undefined, length));
  file('nested', safetensors('{"a":' + '['.repeat(500000) + ']'.repeat(500000) + '}'));
  file('values', safetensors(`{"a":[${'0,'.repeat(500000)}0]}`));
  file('names', safetensors(Object.fromEntries(Array.from({ length: 18000 }, (_, i) => [`t${i}`, { dtype: 'U8', shape: [0], data_offsets: [0, 0] }]))));
  file('twice', safetensors('{"a":{},"a":{}}'));
  file('cut-json', safetensors('{"a":'));
  file('no-object', safetensors('[1]'));
  file('not-utf-8', safetensors(Buffer.from('{"\xff\xfe":0}', 'latin1').toString('latin1')));
  const entry = (change) => safetensors({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4], ...change } }, Buffer.alloc(4));
  for (const [name, change] of Object.entries({
    'offsets-backwards': { data_offsets: [4, 0] }, 'offsets-beyond': { data_offsets: [0, 2 ** 53] }, 'offsets-gap': { shape: [0], data_offsets: [4, 4] }, 'offsets-three': { data_offsets: [0, 1, 4] },
    'offsets-float': { data_offsets: [0, 4.5] }, 'shape-negative': { shape: [-1] }, 'shape-overflow': { shape: [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1] }, 'shape-2^64': { shape: [2 ** 64] },
    'shape-nine': { shape: Array(9).fill(1) }, 'shape-text': { shape: 'x' }, 'field-unknown': { more: 1 }, 'dtype-number': { dtype: 3 },
  })) file(name, entry(change));
  file('dtype-unknown', entry({ dtype: 'BF16' }), ['unsupported_tensor_type']);
  file('overlap', safetensors({ a: { dtype: 'U8', shape: [4], data_offsets: [0, 4] }, b: { dtype: 'U8', shape: [4], data_offsets: [2, 6] } }, Buffer.alloc(6)));
  file('cut', whole.subarray(0, whole.length - 1));
  file('longer', Buffer.concat([whole, Buffer.alloc(1)]));
  // Finite numbers whose products are not, and those that are not numbers, in every tensor of floats.
  const body = 8 + headerBytes;
  for (const [name, { dtype, data_offsets: [begin, end] }] of Object.entries(header)) {
    if (dtype !== 'F32') continue;
    const large = Buffer.from(whole);
    for (let at = body + begin; at < body + end; at += 4) large.writeFloatLE(3e38, at);
    file(`large-${name}`, large);
    const none = Buffer.from(whole);
    none.writeFloatLE([NaN, Infinity, -Infinity][name.length % 3], body + begin);
    file(`none-${name}`, none);
  }
  for (const [name, { dtype, data_offsets: [begin] }] of Object.entries(header)) {
    if (dtype !== 'U8') continue;
    const code = Buffer.from(whole);
    code[body + begin] = 0xff; // four codes that mean nothing
    file(`code-${name}`, code);
    break;
  }
  const next = random(7);
  for (let round = 0; round < 20; round += 1) {
    const changed = Buffer.from(whole);
    for (let n = 1 + next(8); n > 0; n -= 1) changed[next(round % 2 ? changed.length : body)] = next(256);
    file(`damaged-${round}`, changed, ['ok', 'invalid_model', 'unsupported_tensor_type']);
  }
}

async function configs(add) {
  const whole = JSON.parse(await readFile(join(TINY, FILES.config), 'utf8'));
  const file = (name, text, codes = CONFIG) => add('config', `config-${name}`, Buffer.from(typeof text === 'string' ? text : JSON.stringify(text)), codes);
  const other = [...CONFIG, ...MODEL, 'ok']; // in its range, but perhaps of another model
  file('empty', '');
  file('null', 'null');
  file('array', '[]');
  file('nested', '['.repeat(1000000));
  file('nested-objects', '{"a":'.repeat(100000));
  file('spaces', `${' '.repeat(2 << 20)}{}`);
  file('values', `[${'0,'.repeat(500000)}0]`);
  file('twice', '{"model_type":"bitmar","model_type":"bitmar"}');
  file('number-of-a-megabyte', `{"hidden_size":${'9'.repeat(1000000)}}`);
  file('not-utf-8', Buffer.from('{"\xff":0}', 'latin1').toString('latin1'));
  const walk = (value, path, visit) => {
    for (const [key, inner] of Object.entries(value)) {
      if (typeof inner === 'object') walk(inner, [...path, key], visit);
      else if (typeof inner === 'number') visit([...path, key], inner);
    }
  };
  const changed = (path, value) => {
    const copy = structuredClone(whole);
    path.slice(0, -1).reduce((at, key) => at[key], copy)[path.at(-1)] = value;
    return copy;
  };
  // Convolutions of a few bytes over every pixel: minutes for a picture. And what is long for a word.
  const conv = { type: 'conv', out_channels: 8, kernel_size: 15, stride: 1, weights: 'ternary', activation: 'relu' };
  for (const [name, layers] of [['conv', Array(20).fill(conv)], ['residual', Array(10).fill({ type: 'residual', kernel_size: 15 })], ['pool', Array(60).fill({ type: 'max_pool', kernel_size: 15, stride: 1 })]]) {
    const slow = structuredClone(whole);
    Object.assign(slow.vision, { image_size: 945, grid_size: 63, stem: [{ ...conv, kernel_size: 1, weights: 'int8' }, ...layers, { type: 'max_pool', kernel_size: 3, stride: 15 }, { ...conv, kernel_size: 1, out_channels: whole.vision.hidden_size }] });
    slow.compressor.pool_size = 63;
    file(`work-${name}`, slow);
  }
  file('work-vision', { ...whole, vision: { ...whole.vision, num_layers: 64, intermediate_size: 512, image_size: 512, grid_size: 64, hidden_size: 256, num_heads: 4, stem: [{ ...conv, kernel_size: 1, out_channels: 256, stride: 8, weights: 'int8' }] } });
  file('work-text', { ...whole, text_encoder: { ...whole.text_encoder, num_layers: 64, max_tokens: 4096, intermediate_size: 1024 } });
  file('work-decoder', { ...whole, hidden_size: 2048, decoder: { ...whole.decoder, num_layers: 32, intermediate_size: 4096 } });
  walk(whole, [], (path, number) => {
    const name = path.join('.');
    file(`${name}-2^32`, changed(path, 2 ** 32 + number));
    file(`${name}-text`, changed(path, 'x'));
    if (Number.isInteger(number)) file(`${name}-half`, changed(path, number + 0.5), path.at(-1).match(/theta|guidance|rerank_weight|penalty/) ? ['ok'] : CONFIG);
    if (path.length < 3) file(`${name}-large`, changed(path, number * 64 + 64), other);
  });
}

/** Words of eight letters that libc++ hashes alike where a pointer has 32 bits: the last four undo what the first four did. */
function wordsOfOneHash(count) {
  const m = 0x5bd1e995, back = [1, 2, 3, 4, 5].reduce((x) => Math.imul(x, 2 - Math.imul(m, x)), m); // of MurmurHash2; its inverse
  const times = (a, b) => Math.imul(a, b) >>> 0;
  const mix = (k) => times(k ^ (k >>> 24), m);
  const undo = (k) => times(times(k, back) ^ (times(k, back) >>> 24), back);
  const letters = (v) => [0, 8, 16, 24].map((shift) => String.fromCharCode((v >>> shift) & 255)).join('');
  const found = new Set();
  const draw = random(5);
  while (found.size < count) {
    const first = [0, 8, 16, 24].reduce((v, shift) => v | ((35 + draw(57)) << shift), 0) >>> 0;
    const hash = times(8, m) ^ mix(times(first, m));
    const last = letters(undo(times(hash, m) ^ 0x12345678));
    if (/^[!#-[\]-~]{4}$/.test(last)) found.add(letters(first) + last);
  }
  return [...found];
}

async function tokenizers(add) {
  const text = await readFile(join(TINY, FILES.tokenizer), 'utf8');
  const file = (name, value, codes = MODEL) => add('tokenizer', `tokenizer-${name}`, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), codes);
  file('empty', '');
  file('null', 'null');
  file('nested', '['.repeat(4000000));
  file('spaces', `${' '.repeat(9 << 20)}{}`);
  file('values', `[${'0,'.repeat(1500000)}0]`);
  file('strings', `[${'"",'.repeat(1000000)}""]`);
  file('keys', `{${Array.from({ length: 500000 }, (_, i) => `"${i}":0`).join()}}`);
  const oneHash = JSON.parse(text);
  oneHash.model.vocab = Object.fromEntries(wordsOfOneHash(100000).map((token) => [token, 0]));
  oneHash.model.merges = [];
  file('one-hash', oneHash);
  const changes = {
    'no-model': (t) => delete t.model, 'no-vocabulary': (t) => delete t.model.vocab, 'vocabulary-empty': (t) => (t.model.vocab = {}), 'vocabulary-array': (t) => (t.model.vocab = []),
    'merges-text': (t) => (t.model.merges = 'x'), 'merge-of-nothing': (t) => t.model.merges.push('zz zz'), 'merge-of-one': (t) => t.model.merges.push('a'), 'merge-twice': (t) => t.model.merges.push(t.model.merges[0]),
    'merge-number': (t) => t.model.merges.push(7), 'id-negative': (t) => (t.model.vocab[Object.keys(t.model.vocab)[5]] = -1), 'id-2^63': (t) => (t.model.vocab[Object.keys(t.model.vocab)[5]] = 2 ** 63),
    'id-gap': (t) => (t.model.vocab[Object.keys(t.model.vocab)[5]] = 299), 'id-half': (t) => (t.model.vocab[Object.keys(t.model.vocab)[5]] = 5.5), 'token-long': (t) => (t.model.vocab['a'.repeat(100000)] = 300),
    'added-number': (t) => (t.added_tokens = 7), 'added-without': (t) => t.added_tokens.push({}), 'added-many': (t) => (t.added_tokens = Array.from({ length: 50000 }, (_, i) => ({ id: i, content: `<${i}>` }))),
    'normalizer': (t) => (t.normalizer = { type: 'NFD' }), 'decoder': (t) => (t.decoder = null), 'dropout': (t) => (t.model.dropout = 0.5),
  };
  for (const [name, change] of Object.entries(changes)) {
    const copy = JSON.parse(text);
    change(copy);
    file(name, copy);
  }
}

async function preprocessors(add) {
  const whole = JSON.parse(await readFile(join(TINY, FILES.preprocessor), 'utf8'));
  const file = (name, value) => add('preprocessor', `preprocessor-${name}`, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), CONFIG);
  file('empty', '');
  file('spaces', `${' '.repeat(2 << 20)}{}`);
  file('nested', '{"size":'.repeat(100000));
  for (const key of ['do_resize', 'size', 'resample', 'do_center_crop', 'do_rescale', 'do_normalize', 'pixel_offset', 'do_convert_rgb']) {
    file(`${key}-other`, { ...whole, [key]: 77 });
    const { [key]: gone, ...rest } = whole;
    file(`${key}-missing`, rest);
  }
}

// ---- Memory (src/memory/state.h) ----

function memories(add) {
  const C = 16, RECORD = 4 * 4 + 3 * 8 + 64 + 8 * C + 4;
  const state = ({ magic = 'BMEM', version = 1, width = C, base = 0n, sequence = 5n, nextId = 9n, slots = 8, flags = 1, freed = [], records = [], claimed = records.length, tail = 0 }) => {
    const head = Buffer.alloc(60 + 4 * freed.length);
    head.write(magic, 'latin1');
    head.writeUInt32LE(version, 4);
    head.writeUInt32LE(width, 8);
    head.writeUInt32LE(crc32(head.subarray(0, 12)), 12);
    [base, sequence, nextId].forEach((v, i) => head.writeBigUInt64LE(v, 16 + 8 * i));
    [slots, flags, freed.length, claimed].forEach((v, i) => head.writeUInt32LE(v, 40 + 4 * i));
    freed.forEach((v, i) => head.writeUInt32LE(v, 60 + 4 * i));
    head.writeUInt32LE(crc32(head.subarray(60), crc32(head.subarray(16, 56))), 56);
    return Buffer.concat([head, ...records, Buffer.alloc(tail)]);
  };
  const record = ({ slot = 0, label = 0, id = 1n, created = 0, strength = 1, key = 0.25, value = 0.25, check = true }) => {
    const r = Buffer.alloc(RECORD);
    r.writeUInt32LE(slot);
    r.writeFloatLE(strength, 8);
    r.writeUInt32LE(label, 12);
    r.writeBigUInt64LE(id, 16);
    r.writeDoubleLE(created, 24);
    for (let i = 0; i < C; i += 1) r.writeFloatLE(key, 104 + 4 * i), r.writeFloatLE(value, 104 + 4 * C + 4 * i);
    if (check) r.writeUInt32LE(crc32(r.subarray(0, RECORD - 4)), RECORD - 4);
    return r;
  };
  const cases = {
    'empty': [Buffer.alloc(0), STATE], 'magic': [state({ magic: 'BMEX' }), STATE], 'version': [state({ version: 2 }), ['unsupported_state']], 'version-2^32': [state({ version: 0xffffffff }), ['unsupported_state']],
    'width-0': [state({ width: 0 }), STATE], 'width-other': [state({ width: 128 }), STATE], 'width-2^32': [state({ width: 0xffffffff }), STATE], 'cut-header': [state({}).subarray(0, 40), STATE],
    'slots-0': [state({ slots: 0 }), STATE], 'slots-2^32': [state({ slots: 0xffffffff }), STATE], 'records-beyond-slots': [state({ claimed: 9 }), STATE], 'records-2^32': [state({ claimed: 0xffffffff }), STATE],
    'slots-65536': [state({ slots: 65536 }), ['ok']], 'records-missing': [state({ slots: 65536, claimed: 65536 }), ['ok']], 'sequence-2^63': [state({ sequence: 2n ** 63n }), STATE], 'sequence-backwards': [state({ base: 6n }), STATE],
    'next-id-0': [state({ nextId: 0n }), STATE], 'next-id-2^64': [state({ nextId: 2n ** 64n - 1n }), STATE], 'freed-beyond': [state({ freed: [8] }), STATE], 'freed-many': [state({ slots: 65536, freed: Array.from({ length: 65536 }, (_, i) => i) }), ['ok']],
    'freed-again-and-again': [state({ freed: Array(1000000).fill(3) }), ['ok', ...STATE]], 'zeros-behind': [state({ tail: 4 << 20 }), ['ok']], 'record-slot': [state({ records: [record({ slot: 8 })] }), ['ok']],
    'record-label': [state({ records: [record({ label: 64 })] }), ['ok']], 'record-id-0': [state({ records: [record({ id: 0n })] }), ['ok']], 'record-id-2^64': [state({ records: [record({ id: 2n ** 64n - 1n })] }), ['ok']],
    'record-nan': [state({ records: [record({ key: NaN })] }), ['ok']], 'record-infinite': [state({ records: [record({ value: Infinity })] }), ['ok']], 'record-long': [state({ records: [record({ key: 3e38 })] }), ['ok']],
    'record-time': [state({ records: [record({ created: NaN })] }), ['ok']], 'record-strength': [state({ records: [record({ strength: -1 })] }), ['ok']], 'record-check': [state({ records: [record({ check: false })] }), ['ok']],
    'records-same-slot': [state({ records: [record({}), record({ id: 2n })] }), ['ok']], 'records-same-id': [state({ records: [record({}), record({ slot: 1 })] }), ['ok']],
  };
  for (const [name, [file, codes]] of Object.entries(cases)) {
    add('memory', `memory-${name}`, file, codes);
    add('journal', `journal-${name}`, file, ['ok', 'unsupported_state']); // a damaged frame is dropped and counted
  }
  // Frames of sixty bytes that clear 65,536 slots, one after another.
  const clearing = Array.from({ length: 3000 }, (_, i) => state({ slots: 65536, base: BigInt(i), sequence: BigInt(i + 1) }));
  add('journal', 'journal-clears', Buffer.concat(clearing.flatMap((f) => { const size = Buffer.alloc(4); size.writeUInt32LE(f.length); return [size, f]; })), ['ok'], { frames: true });
  const next = random(11);
  for (let round = 0; round < 20; round += 1) {
    const file = state({ records: [record({}), record({ slot: 3, id: 4n })], freed: [1, 2] });
    for (let n = 1 + next(4); n > 0; n -= 1) file[next(file.length)] = next(256);
    add('memory', `memory-damaged-${round}`, file, ['ok', 'invalid_state', 'unsupported_state']);
  }
}

// ---- Prompts ----

function prompts(add) {
  const prompt = (name, text, ...codes) => add('prompt', `prompt-${name}`, Buffer.from(text), codes.length ? codes : ['text_too_long']);
  prompt('empty', '', 'ok');
  for (const [name, letter] of Object.entries({ letters: 'a', spaces: ' ', quotes: "'", digits: '7', newlines: '\n', accents: 'e\u0301', emoji: '👩‍👩‍👧', han: '漢', zeros: '\0', capitals: 'İ', mixed: "a 1'll " })) {
    prompt(`${name}-60000`, letter.repeat(60000 / Buffer.byteLength(letter)));
    prompt(`${name}-70000`, letter.repeat(70000 / Buffer.byteLength(letter)));
  }
  prompt('20-megabytes', 'a dog '.repeat(3500000));
}

/** Writes it all to a folder. -> the table */
export async function makeTable(folder) {
  const cases = [];
  const add = (kind, name, bytes, codes, more = {}) => cases.push({ kind, name, bytes, codes, more });
  await jpegs(add);
  await pngs(add);
  await damaged(add);
  await weights(add);
  await configs(add);
  await tokenizers(add);
  await preprocessors(add);
  memories(add);
  prompts(add);
  const table = [];
  for (const { kind, name, bytes, codes, more } of cases) {
    let path = name.replace(/[^\w.^-]/g, '_');
    if (kind in FILES) {
      // The tiny model with one file of its own.
      await mkdir(join(folder, path), { recursive: true });
      for (const [part, file] of Object.entries(FILES)) {
        if (part === kind) await writeFile(join(folder, path, file), bytes);
        else await symlink(join(TINY, file), join(folder, path, file)).catch((error) => { if (error.code !== 'EEXIST') throw error; });
      }
    } else {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, path), bytes);
    }
    table.push({ name, kind, path, codes, ...more });
  }
  // A hundred megabytes and more that no disk has to hold.
  for (const kind of ['config', 'preprocessor', 'tokenizer', 'safetensors']) {
    const path = `sparse-${kind}`;
    await mkdir(join(folder, path), { recursive: true });
    for (const [part, file] of Object.entries(FILES)) {
      if (part !== kind) await symlink(join(TINY, file), join(folder, path, file)).catch((error) => { if (error.code !== 'EEXIST') throw error; });
    }
    const file = await open(join(folder, path, FILES[kind]), 'w');
    await file.truncate(kind === 'safetensors' ? 600 << 20 : 100 << 20);
    await file.close();
    table.push({ name: path, kind, path, codes: ['invalid_config', 'invalid_model'] });
  }
  await writeFile(join(folder, 'table.json'), `${JSON.stringify(table, null, 1)}\n`);
  return table;
}

if (process.argv[1] && basename(process.argv[1]) === 'make.mjs') {
  const folder = process.argv[2];
  if (!folder) throw new Error('usage: node tests/hostile/make.mjs FOLDER');
  const table = await makeTable(folder);
  console.log(`${table.length} hostile inputs in ${folder}`);
}
