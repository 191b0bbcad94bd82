/** SHA-256. `crypto.subtle` exists in secure contexts only; over plain HTTP the digest is computed here. */

/** The SHA-256 of some bytes, as 64 hex digits. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  const digest = subtle ? new Uint8Array(await subtle.digest("SHA-256", bytes)) : computeSha256(bytes);
  return toHex(digest);
}

/** The SHA-256 of some bytes, computed without `crypto.subtle` (FIPS 180-4). */
export function computeSha256(bytes: Uint8Array): Uint8Array {
  const hash = new Sha256();
  hash.update(bytes);
  return hash.digest();
}

// Larger ones are not held in memory whole.
const WHOLE = 64 * 1024 * 1024;

/** The SHA-256 of a file, as 64 hex digits. */
export async function sha256OfBlob(blob: Blob): Promise<string> {
  if (blob.size <= WHOLE) return sha256(new Uint8Array(await blob.arrayBuffer()));
  const hash = new Sha256();
  for (let start = 0; start < blob.size; start += WHOLE) {
    hash.update(new Uint8Array(await blob.slice(start, start + WHOLE).arrayBuffer()));
  }
  return toHex(hash.digest());
}

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** SHA-256 of bytes that come in parts. */
export class Sha256 {
  private readonly state = firstWords(2);
  private readonly constants = firstWords(3);
  private readonly words = new Uint32Array(64);
  private readonly rest = new Uint8Array(64);
  private restLength = 0;
  private length = 0;

  update(bytes: Uint8Array): void {
    this.length += bytes.length;
    let at = 0;
    if (this.restLength > 0) {
      at = Math.min(64 - this.restLength, bytes.length);
      this.rest.set(bytes.subarray(0, at), this.restLength);
      this.restLength += at;
      if (this.restLength < 64) return;
      this.compress(new DataView(this.rest.buffer), 0);
      this.restLength = 0;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (; at + 64 <= bytes.length; at += 64) this.compress(view, at);
    this.rest.set(bytes.subarray(at));
    this.restLength = bytes.length - at;
  }

  digest(): Uint8Array {
    const last = new DataView(new ArrayBuffer(this.restLength < 56 ? 64 : 128));
    for (let place = 0; place < this.restLength; place++) last.setUint8(place, this.rest[place]!);
    last.setUint8(this.restLength, 0x80);
    last.setBigUint64(last.byteLength - 8, BigInt(this.length) * 8n);
    for (let start = 0; start < last.byteLength; start += 64) this.compress(last, start);
    const digest = new DataView(new ArrayBuffer(32));
    this.state.forEach((word, place) => digest.setUint32(4 * place, word));
    return new Uint8Array(digest.buffer);
  }

  private compress(block: DataView, start: number): void {
    compress(this.state, this.constants, this.words, block, start);
  }
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

function compress(
  state: Uint32Array,
  constants: Uint32Array,
  words: Uint32Array,
  block: DataView,
  start: number,
): void {
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
