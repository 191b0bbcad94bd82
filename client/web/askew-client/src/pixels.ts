/** Decoded photos: what an encoder's input `image` takes. */

import type { Size } from "./size-rule.js";

/** A decoded photo: RGB, 3 bytes a pixel, row after row. */
export interface Pixels extends Size {
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * Copies rows of RGBA pixels, as a canvas returns them, into an RGB photo; it shrinks them by the cap rule
 * (`capFactor`). Columns and rows at the right and the bottom that do not fill a whole block are left out.
 */
export class PixelReader {
  readonly size: Size;
  private readonly data: Uint8Array<ArrayBuffer>;
  private nextRow = 0;

  /** `source`: the size of the whole photo. `factor`: pixels of a block's side. */
  constructor(
    private readonly source: Size,
    private readonly factor: number,
  ) {
    this.size = { width: Math.floor(source.width / factor), height: Math.floor(source.height / factor) };
    this.data = new Uint8Array(3 * this.size.width * this.size.height);
  }

  /** Take the next rows: RGBA, a multiple of `factor` rows unless they are the last ones. */
  take(rgba: Uint8ClampedArray): void {
    const rows = Math.floor(rgba.length / (4 * this.source.width) / this.factor);
    for (let row = 0; row < rows && this.nextRow < this.size.height; row++, this.nextRow++) {
      if (this.factor === 1) this.copyRow(rgba, row);
      else this.averageRow(rgba, row);
    }
  }

  /** The whole photo. */
  finish(): Pixels {
    if (this.nextRow !== this.size.height) {
      throw new Error(`Expected ${this.size.height} rows of pixels, got ${this.nextRow}.`);
    }
    return { ...this.size, data: this.data };
  }

  private copyRow(rgba: Uint8ClampedArray, row: number): void {
    let from = 4 * row * this.source.width;
    let to = 3 * this.nextRow * this.size.width;
    for (let column = 0; column < this.size.width; column++, from += 4, to += 3) {
      this.data[to] = rgba[from]!;
      this.data[to + 1] = rgba[from + 1]!;
      this.data[to + 2] = rgba[from + 2]!;
    }
  }

  private averageRow(rgba: Uint8ClampedArray, row: number): void {
    const { factor, source } = this;
    const area = factor * factor;
    const half = area >> 1;
    let to = 3 * this.nextRow * this.size.width;
    for (let column = 0; column < this.size.width; column++, to += 3) {
      let red = half;
      let green = half;
      let blue = half;
      for (let y = 0; y < factor; y++) {
        let from = 4 * ((row * factor + y) * source.width + column * factor);
        for (let x = 0; x < factor; x++, from += 4) {
          red += rgba[from]!;
          green += rgba[from + 1]!;
          blue += rgba[from + 2]!;
        }
      }
      this.data[to] = red / area;
      this.data[to + 1] = green / area;
      this.data[to + 2] = blue / area;
    }
  }
}
