/** Vectors on the wire: little-endian float16, rounded to the nearest, ties to even, as numpy rounds. */

/** Pack a unit vector: two bytes a value. Throws RangeError for a value that float16 does not have. */
export function packFloat16(vector: Float32Array): Uint8Array {
  const packed = new Uint8Array(2 * vector.length);
  const bits = new Uint32Array(Float32Array.from(vector).buffer);
  for (let place = 0; place < bits.length; place++) {
    const half = roundToHalf(bits[place]!);
    if ((half & 0x7c00) === 0x7c00) throw new RangeError(`Expected a unit vector, got ${vector[place]} at ${place}.`);
    packed[2 * place] = half & 0xff;
    packed[2 * place + 1] = half >>> 8;
  }
  return packed;
}

/** The bits of the float16 nearest to a float32, given by its bits. */
function roundToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 112;
  const mantissa = bits & 0x7fffff;
  if (exponent >= 31) return sign | 0x7c00;
  if (exponent < -10) return sign;
  if (exponent <= 0) return sign | shiftToEven(mantissa | 0x800000, 14 - exponent);
  return sign | ((exponent << 10) + shiftToEven(mantissa, 13));
}

function shiftToEven(value: number, shift: number): number {
  const kept = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && kept & 1) ? kept + 1 : kept;
}

/** Read base64 of little-endian float32, as manifests store golden vectors. */
export function readFloat32(base64: string): Float32Array {
  const text = atob(base64);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
