/** The codes of a pack: scores of a query against all of them, and the vector that a code stands for. */

import { type PackHeader, codeBytes, damaged } from "./pack-file.js";
import { packFloat16, unpackFloat16 } from "./wire.js";

/**
 * What product codes stand for. Part j of a code, one byte, covers the dimensions `order[starts[j]]` up to
 * `order[starts[j + 1] - 1]`; `books` holds 256 rows of so many values for each part: float32 [256 * dim].
 */
interface ProductCodec {
  readonly order: Uint16Array;
  readonly starts: Uint32Array;
  readonly books: Float32Array;
}

/** Codes in memory. `product`: undefined for int8. `scales`: the factor of each item's score, float32 [items]. */
export interface PackCodes {
  readonly header: PackHeader;
  readonly product: ProductCodec | undefined;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

/** `codec`, `codes`, `scales`: the bytes of the pack's sections. Throws DeviceError (damaged-pack). */
export function readCodes(header: PackHeader, codec: Uint8Array, codes: Uint8Array, scales: Uint8Array): PackCodes {
  const view = new DataView(scales.buffer, scales.byteOffset, scales.byteLength);
  const factors = Float32Array.from({ length: header.items }, (_, item) => view.getFloat32(4 * item, true));
  return { header, product: header.codec.kind === "product" ? readProduct(header, codec) : undefined, codes, scales: factors };
}

function readProduct({ codec, dim }: PackHeader, section: Uint8Array): ProductCodec {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  const order = Uint16Array.from({ length: dim }, (_, place) => view.getUint16(2 * place, true));
  const starts = Uint32Array.from({ length: codec.bytes + 1 }, (_, part) => view.getUint32(2 * dim + 4 * part, true));
  const isPermutation = new Set(order).size === dim && order.every((dimension) => dimension < dim);
  const isRising = starts.every((start, part) => (part === 0 ? start === 0 : start > starts[part - 1]!));
  if (!isPermutation || !isRising || starts.at(-1) !== dim) throw damaged("its codec does not cover each dimension once");
  return { order, starts, books: unpackFloat16(section.subarray(2 * dim + 4 * starts.length)) };
}

/** A vector as it would arrive at a server: rounded to float16. */
export const asSent = (vector: Float32Array): Float32Array => unpackFloat16(packFloat16(vector));

/**
 * The score of each item with a query: float64 [items], in [-1, 1]. `query`: float32 [dim], unit length.
 *
 * Throws RangeError if the query has another dimension.
 */
export function scoreAll(pack: PackCodes, query: Float32Array): Float64Array {
  const { dim, items } = pack.header;
  if (query.length !== dim) throw new RangeError(`Expected a query of ${dim} values, got ${query.length}.`);
  const scores = new Float64Array(items);
  if (pack.product) addProducts(scores, pack.codes, makeTable(pack.product, query), codeBytes(pack.header));
  else addInt8(scores, new Int8Array(pack.codes.buffer, pack.codes.byteOffset, pack.codes.length), query);
  for (let item = 0; item < items; item++) {
    scores[item] = Math.min(1, Math.max(-1, scores[item]! * pack.scales[item]!));
  }
  return scores;
}

/** The vector that the code of an item stands for: float32 [dim], unit length (zero for a code of zeros). */
export function decode(pack: PackCodes, item: number): Float32Array {
  const { dim } = pack.header;
  const bytes = codeBytes(pack.header);
  const code = pack.codes.subarray(item * bytes, (item + 1) * bytes);
  const vector = new Float32Array(dim);
  if (pack.product) {
    const { books, order, starts } = pack.product;
    for (let part = 0; part < bytes; part++) {
      const [start, width] = [starts[part]!, starts[part + 1]! - starts[part]!];
      const row = 256 * start + code[part]! * width;
      for (let place = 0; place < width; place++) vector[order[start + place]!] = books[row + place]!;
    }
  } else vector.set(new Int8Array(code.buffer, code.byteOffset, code.length));
  let square = 0;
  for (const value of vector) square += value * value;
  const length = Math.sqrt(square) || 1;
  for (let place = 0; place < dim; place++) vector[place] = vector[place]! / length;
  return vector;
}

/** For each part and each of its 256 values, the product of the query and what the value stands for: [bytes, 256]. */
function makeTable({ books, order, starts }: ProductCodec, query: Float32Array): Float32Array {
  const ordered = Float32Array.from(order, (dimension) => query[dimension]!);
  const table = new Float32Array((starts.length - 1) * 256);
  for (let part = 0; part + 1 < starts.length; part++) {
    const [start, width] = [starts[part]!, starts[part + 1]! - starts[part]!];
    for (let value = 0; value < 256; value++) {
      const row = 256 * start + value * width;
      let sum = 0;
      for (let place = 0; place < width; place++) sum += ordered[start + place]! * books[row + place]!;
      table[part * 256 + value] = sum;
    }
  }
  return table;
}

// 16 parts of a table take 16 kB: they stay in a processor's first cache, with the codes of a block.
const PARTS_AT_ONCE = 16;
const ITEMS_A_BLOCK = 1024;

function addProducts(scores: Float64Array, codes: Uint8Array, table: Float32Array, bytes: number): void {
  for (let from = 0; from < scores.length; from += ITEMS_A_BLOCK) {
    const to = Math.min(from + ITEMS_A_BLOCK, scores.length);
    for (let first = 0; first < bytes; first += PARTS_AT_ONCE) {
      addParts(scores, codes, table, bytes, from, to, first, Math.min(first + PARTS_AT_ONCE, bytes));
    }
  }
}

function addParts(
  scores: Float64Array,
  codes: Uint8Array,
  table: Float32Array,
  bytes: number,
  from: number,
  to: number,
  first: number,
  end: number,
): void {
  const unrolled = first + ((end - first) & ~3);
  for (let item = from; item < to; item++) {
    const row = item * bytes;
    let one = 0;
    let two = 0;
    let three = 0;
    let four = 0;
    let part = first;
    for (; part < unrolled; part += 4) {
      const at = row + part;
      const base = part * 256;
      one += table[base + codes[at]!]!;
      two += table[base + 256 + codes[at + 1]!]!;
      three += table[base + 512 + codes[at + 2]!]!;
      four += table[base + 768 + codes[at + 3]!]!;
    }
    for (; part < end; part++) one += table[part * 256 + codes[row + part]!]!;
    scores[item]! += one + two + three + four;
  }
}

function addInt8(scores: Float64Array, codes: Int8Array, query: Float32Array): void {
  const dim = query.length;
  const unrolled = dim & ~3;
  for (let item = 0; item < scores.length; item++) {
    const row = item * dim;
    let one = 0;
    let two = 0;
    let three = 0;
    let four = 0;
    let place = 0;
    for (; place < unrolled; place += 4) {
      one += query[place]! * codes[row + place]!;
      two += query[place + 1]! * codes[row + place + 1]!;
      three += query[place + 2]! * codes[row + place + 2]!;
      four += query[place + 3]! * codes[row + place + 3]!;
    }
    for (; place < dim; place++) one += query[place]! * codes[row + place]!;
    scores[item] = one + two + three + four;
  }
}
