/** From RGBA, as decoders give it, to the RGB that an encoder takes, shrunk by the cap rule (docs/phone.md). */

import type { Pixels } from "./golden-picture.ts";

/** The side of the blocks that are averaged: 1 for photos below 2,560 px. */
export function capFactor(width: number, height: number, photoSize: number): number {
  return Math.max(1, Math.floor(Math.max(width, height) / Math.max(2 * photoSize, 1280)));
}

/** RGBA that is not premultiplied → RGB over white, averaged over blocks; rows and columns that fill no block are left out. */
export function toPixels(rgba: Uint8Array, width: number, height: number, photoSize: number): Pixels {
  const k = capFactor(width, height, photoSize);
  const [columns, rows] = [Math.floor(width / k), Math.floor(height / k)];
  const data = new Uint8Array(3 * columns * rows);
  for (let row = 0, to = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      for (let channel = 0; channel < 3; channel++, to++) {
        let sum = (k * k) >> 1;
        for (let y = 0; y < k; y++) {
          for (let x = 0; x < k; x++) {
            const from = 4 * ((row * k + y) * width + column * k + x);
            const alpha = rgba[from + 3]!;
            const level = rgba[from + channel]!;
            sum += alpha === 255 ? level : Math.round((level * alpha + 255 * (255 - alpha)) / 255);
          }
        }
        data[to] = Math.floor(sum / (k * k));
      }
    }
  }
  return { width: columns, height: rows, data };
}
