/**
 * Vectors on the wire: little-endian float16, two bytes a value (docs/api.md). A 2048-d vector is 4,096 bytes.
 */

const INFINITY_BITS = 0x7c00;

/**
 * Pack a vector as little-endian float16. Values are rounded to the nearest, ties to even, as numpy does.
 *
 * Throws RangeError if a value is not finite or too large for float16: a unit vector has no such value.
 */
export function packFloat16(vector: Float32Array): Uint8Array<ArrayBuffer> {
  const packed = new Uint8Array(2 * vector.length);
  const bits = new Uint32Array(Float32Array.from(vector).buffer);
  const view = new DataView(packed.buffer);
  for (let place = 0; place < bits.length; place++) {
    const half = roundToHalf(bits[place]!);
    if ((half & INFINITY_BITS) === INFINITY_BITS) {
      throw new RangeError(`Expected finite values of a unit vector, got ${vector[place]} at ${place}.`);
    }
    view.setUint16(2 * place, half, true);
  }
  return packed;
}

/** The values of little-endian float16 numbers, exactly. */
export function unpackFloat16(packed: Uint8Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(packed.length >> 1);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  for (let place = 0; place < values.length; place++) values[place] = fromHalf(view.getUint16(2 * place, true));
  return values;
}

function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Infinity;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** The bits of the float16 nearest to a float32, given by its bits. */
function roundToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 112;
  const mantissa = bits & 0x7fffff;
  if (exponent >= 31) return sign | INFINITY_BITS;
  if (exponent <= 0) {
    // A subnormal of float16, or zero: the implicit leading one becomes part of the shifted mantissa.
    if (exponent < -10) return sign;
    return sign | shiftToEven(mantissa | 0x800000, 14 - exponent);
  }
  // A carry out of the mantissa goes into the exponent, which is what rounding up to the next power of two means.
  return sign | ((exponent << 10) + shiftToEven(mantissa, 13));
}

function shiftToEven(value: number, shift: number): number {
  const kept = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && kept & 1) ? kept + 1 : kept;
}
