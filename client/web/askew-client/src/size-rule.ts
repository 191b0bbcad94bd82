/** The size rules that all parts of Askew share: what an encoder sees of a photo (docs/encoder.md). */

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** The shortest side, in pixels, that a photo may have once it is shrunk to an encoder's photo size. */
export const SHORTEST_SIDE = 32;

/** Photos with more pixels are refused before they are decoded. */
export const MAX_PIXELS = 64_000_000;

const LONGEST_UNCAPPED_SIDE = 1280;

/**
 * A photo's size after its longest side was shrunk to `photoSize`; the encoder's graph does this. Photos are never
 * enlarged. Computed in integers: each side becomes max(1, floor(side * r + 1/2)).
 */
export function shrunkSize({ width, height }: Size, photoSize: number): Size {
  const longest = Math.max(width, height);
  if (longest <= photoSize) return { width, height };
  const shrunk = (side: number) => Math.max(1, Math.floor((2 * side * photoSize + longest) / (2 * longest)));
  return { width: shrunk(width), height: shrunk(height) };
}

/** Whether a photo is too thin for an encoder. */
export function isTooThin(size: Size, photoSize: number): boolean {
  const shrunk = shrunkSize(size, photoSize);
  return Math.min(shrunk.width, shrunk.height) < SHORTEST_SIDE;
}

/**
 * The cap rule: the whole number k by which a large photo is shrunk before it goes to the encoder.
 *
 * k = max(1, floor(max(W, H) / max(2 * photoSize, 1280))). Each pixel of the result is the mean of k * k pixels, so that
 * the graph still shrinks what is left by two or more. Photos below 2,560 pixels are not changed. The same rule in
 * Python: `askew_client.encoding.cap`.
 */
export function capFactor({ width, height }: Size, photoSize: number): number {
  return Math.max(1, Math.floor(Math.max(width, height) / Math.max(2 * photoSize, LONGEST_UNCAPPED_SIDE)));
}
