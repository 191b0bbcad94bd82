/** SHA-256. `crypto.subtle` exists in secure contexts only; over plain HTTP the digest is computed here. */

/** The SHA-256 of some bytes, as 64 hex digits. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  const digest = subtle ? new Uint8Array(await subtle.digest("SHA-256", bytes)) : computeSha256(bytes);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The SHA-256 of some bytes, computed without `crypto.subtle` (FIPS 180-4). */
export function computeSha256(bytes: Uint8Array): Uint8Array {
  const state = firstWords(2);
  const constants = firstWords(3);
  const whole = bytes.length & ~63;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let start = 0; start < whole; start += 64) compress(state, constants, view, start);

  const rest = bytes.length - whole;
  const last = new DataView(new ArrayBuffer(rest < 56 ? 64 : 128));
  for (let place = 0; place < rest; place++) last.setUint8(place, bytes[whole + place]!);
  last.setUint8(rest, 0x80);
  last.setBigUint64(last.byteLength - 8, BigInt(bytes.length) * 8n);
  for (let start = 0; start < last.byteLength; start += 64) compress(state, constants, last, start);

  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, place) => digest.setUint32(4 * place, word));
  return new Uint8Array(digest.buffer);
}

/**
 * The first 32 bits of the fractional parts of roots of the first primes: square roots of 8 primes (the initial state),
 * or cube roots of 64 primes (the constants of the rounds).
 */
function firstWords(root: 2 | 3): Uint32Array {
  const words: number[] = [];
  for (let candidate = 2; words.length < (root === 2 ? 8 : 64); candidate++) {
    let isPrime = true;
    for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) isPrime = false;
    if (isPrime) words.push(fractionOfRoot(candidate, root));
  }
  return Uint32Array.from(words);
}

/** floor(2^32 * number^(1/root)) modulo 2^32, by bisection in whole numbers. */
function fractionOfRoot(number: number, root: 2 | 3): number {
  const target = BigInt(number) << BigInt(32 * root);
  let low = 0n;
  let high = 1n << 38n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(root) <= target) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn);
}

function compress(state: Uint32Array, constants: Uint32Array, block: DataView, start: number): void {
  const words = new Uint32Array(64);
  for (let t = 0; t < 16; t++) words[t] = block.getUint32(start + 4 * t);
  for (let t = 16; t < 64; t++) {
    const early = words[t - 15]!;
    const late = words[t - 2]!;
    const small = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3);
    const large = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10);
    words[t] = words[t - 16]! + small + words[t - 7]! + large;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let t = 0; t < 64; t++) {
    const choice = (e & f) ^ (~e & g);
    const first = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choice + constants[t]! + words[t]!) | 0;
    const majority = (a & b) ^ (a & c) ^ (b & c);
    const second = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, place) => (state[place] = state[place]! + word));
}

const rotate = (word: number, bits: number): number => (word >>> bits) | (word << (32 - bits));
