/** The share of scores in equal steps, from what is stored of them. Imports nothing, so that tests can run it anywhere. */

/** Shares of all scores by step of `width` from `from` upwards; they sum to 1. */
export interface Shares {
  readonly from: number;
  readonly width: number;
  readonly shares: readonly number[];
}

/**
 * The share of scores at or below a score. `percentiles`: 101 rising scores, from 0 to 100 %; between two of them the
 * hundredth of scores that lies there is taken to be spread evenly.
 */
export function shareBelow(percentiles: readonly number[], score: number): number {
  const last = percentiles.length - 1;
  if (score < (percentiles[0] ?? 0)) return 0;
  if (score >= (percentiles[last] ?? 0)) return 1;
  // The last percentile that is not above the score: of equal ones, the highest.
  let place = 0;
  while (place < last && (percentiles[place + 1] ?? Infinity) <= score) place += 1;
  const lower = percentiles[place] ?? 0;
  const upper = percentiles[place + 1] ?? lower;
  return (place + (upper > lower ? (score - lower) / (upper - lower) : 0)) / last;
}

export function sharesOf(percentiles: readonly number[], from: number, to: number, steps: number): Shares {
  const width = (to - from) / steps;
  const below = Array.from({ length: steps + 1 }, (_, place) =>
    // The ends take what lies beyond them, so that nothing is left out.
    place === 0 ? 0 : place === steps ? 1 : shareBelow(percentiles, from + place * width),
  );
  return { from, width, shares: below.slice(1).map((share, place) => share - (below[place] ?? 0)) };
}
