/**
 * The golden pictures, for which every machine must compute the vectors that an encoder file records.
 *
 * They are drawn by whole-number arithmetic only, pixel for pixel as `askew_client.encoding.golden` draws them.
 */

import type { Pixels } from "./pixels.js";
import type { Size } from "./size-rule.js";

const SIZES: ReadonlyMap<string, Size> = new Map([
  ["large", { width: 1400, height: 1050 }],
  ["thin", { width: 333, height: 149 }],
  ["small", { width: 90, height: 120 }],
]);

type Colour = readonly [number, number, number];

/** Draw a golden picture; undefined if this version has no picture of that name. */
export function drawGoldenPicture(name: string): Pixels | undefined {
  const size = SIZES.get(name);
  if (!size) return undefined;
  const { width, height } = size;
  const data = new Uint8Array(3 * width * height);
  const seed = 3 + name.length;
  for (let row = 0, to = 0; row < height; row++) {
    const y = Math.floor((row * 840) / height);
    for (let column = 0; column < width; column++, to += 3) {
      data.set(colourAt(Math.floor((column * 840) / width), y, seed), to);
    }
  }
  return { width, height, data };
}

/** The colour at a point of a square of 840 * 840; what is drawn last covers what was drawn before. */
function colourAt(x: number, y: number, seed: number): Colour {
  if (Math.abs((x - 690) ** 2 + (y - 600) ** 2 - 110 ** 2) < 3500) return [30, 40, 160];
  if (y >= 770) return [74, 128, 66];
  if (x > 280 && x < 370 && y > 560 && y < 770) return [38, 62, 48];
  if (y > 190 && y <= 330 && Math.abs(x - 325) < (y - 190) * 2) return [70, 58 + seed, 84];
  if (x > 90 && x < 560 && y > 330 && y < 770) {
    const isMortar = y % 48 < 5 || (x + (Math.floor(y / 48) % 2) * 40) % 80 < 5;
    return isMortar ? [222, 208, 190] : [176, 92, 58];
  }
  if ((x - 610) ** 2 + (y - 180 - 10 * seed) ** 2 < (70 + 4 * seed) ** 2) return [250, 214, 80];
  const sky = [90 + Math.floor(y / 8), 120 + Math.floor((x + y) / 16), 230 - Math.floor(y / 6)] as const;
  return [clip(sky[0]), clip(sky[1]), clip(sky[2])];
}

const clip = (value: number): number => Math.min(255, Math.max(0, value));

/** 1 minus the cosine of two vectors; at least 0, NaN if one of them is not finite. */
export function cosineDistance(one: Float32Array, other: Float32Array): number {
  let product = 0;
  let ones = 0;
  let others = 0;
  for (let place = 0; place < one.length; place++) {
    product += one[place]! * other[place]!;
    ones += one[place]! ** 2;
    others += other[place]! ** 2;
  }
  return Math.max(0, 1 - product / Math.sqrt(ones * others));
}
