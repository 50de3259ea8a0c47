// A graph, node by node, and its .onnx file. Protocol buffers are little enough here to write them out:
// a message is its fields by number; whole numbers, floats, strings, bytes and messages.
class Float {
  constructor(value) {
    this.bytes = new Uint8Array(Float32Array.of(value).buffer);
  }
}

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest ? low | 0x80 : low);
  } while (rest);
  return Uint8Array.from(bytes);
}

function message(fields) {
  const parts = [];
  for (const [number, values] of Object.entries(fields)) {
    for (const value of Array.isArray(values) ? values : [values]) {
      const tag = (wire) => varint((Number(number) << 3) | wire);
      if (typeof value === 'number' || typeof value === 'bigint') parts.push(tag(0), varint(value));
      else if (value instanceof Float) parts.push(tag(5), value.bytes);
      else {
        const bytes = typeof value === 'string' ? Buffer.from(value) : value;
        parts.push(tag(2), varint(bytes.length), bytes);
      }
    }
  }
  return Buffer.concat(parts);
}

// TensorProto.DataType
const TYPES = { Float32Array: 1, Uint8Array: 2, Int8Array: 3, Int32Array: 6, BigInt64Array: 7 };
const OPSET = 17;

function attribute(name, value) {
  if (Array.isArray(value)) return message({ 1: name, 8: value, 20: 7 });
  return Number.isInteger(value) ? message({ 1: name, 3: value, 20: 2 }) : message({ 1: name, 2: new Float(value), 20: 1 });
}

function valueInfo(name, type, shape) {
  const dimensions = shape.map((size) => message({ 1: size }));
  return message({ 1: name, 2: message({ 1: message({ 1: TYPES[type], 2: message({ 1: dimensions }) }) }) });
}

export class Graph {
  #nodes = [];
  #constants = [];
  #inputs = [];
  #outputs = [];
  #names = 0;

  #name() {
    return `t${this.#names++}`;
  }

  input(name, type, shape) {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** A tensor of the file; a plain number is a float32 scalar. */
  constant(data, shape = [data.length]) {
    if (typeof data === 'number') return this.constant(Float32Array.of(data), []);
    const name = this.#name();
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#constants.push(message({ 1: shape, 2: TYPES[data.constructor.name], 8: name, 9: raw }));
    return name;
  }

  /** Adds an operator and returns its output, or a list of `outputs` of them. Contributed operators have a dot: 'ms.MatMulNBits'. */
  op(type, inputs, attributes = {}, outputs = undefined) {
    const names = Array.from({ length: outputs ?? 1 }, () => this.#name());
    const contributed = type.startsWith('ms.');
    this.#nodes.push(
      message({
        1: inputs,
        2: names,
        3: names[0],
        4: contributed ? type.slice(3) : type,
        5: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
        7: contributed ? 'com.microsoft' : [],
      }),
    );
    return outputs ? names : names[0];
  }

  /** Gives a value the name under which it is asked for. */
  output(name, value, type, shape) {
    this.#nodes.push(message({ 1: value, 2: name, 3: name, 4: 'Identity' }));
    this.#outputs.push(valueInfo(name, type, shape));
  }

  file() {
    const graph = message({ 1: this.#nodes, 2: 'bench', 5: this.#constants, 11: this.#inputs, 12: this.#outputs });
    const opsets = [message({ 2: OPSET }), message({ 1: 'com.microsoft', 2: 1 })];
    return message({ 1: 8, 2: 'bitmar bench', 7: graph, 8: opsets });
  }
}
