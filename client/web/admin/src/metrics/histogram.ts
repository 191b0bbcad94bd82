/** Histograms with cumulative buckets, as Prometheus keeps them. Imports nothing, so that tests can run it anywhere. */

/** Counts of observations of at most each bound, by rising bound; the last bound is infinite. */
export interface Histogram {
  readonly bounds: readonly number[];
  readonly cumulative: readonly number[];
}

export const countOf = ({ cumulative }: Histogram): number => cumulative.at(-1) ?? 0;

/** Counts in each bucket alone. */
export const countsOf = ({ cumulative }: Histogram): number[] =>
  cumulative.map((count, place) => count - (cumulative[place - 1] ?? 0));

/**
 * The value that a share of the observations does not exceed, interpolated within its bucket as PromQL's
 * histogram_quantile does; undefined without observations. In the last, open bucket: its lower bound.
 */
export function quantile({ bounds, cumulative }: Histogram, share: number): number | undefined {
  const count = cumulative.at(-1) ?? 0;
  if (!(count > 0)) return undefined;
  const rank = share * count;
  const place = Math.max(0, cumulative.findIndex((each) => each >= rank));
  const upper = bounds[place] ?? Infinity;
  const lower = place > 0 ? (bounds[place - 1] ?? 0) : Math.min(0, upper);
  if (!Number.isFinite(upper)) return lower;
  const below = place > 0 ? (cumulative[place - 1] ?? 0) : 0;
  const within = (cumulative[place] ?? 0) - below;
  return within > 0 ? lower + ((upper - lower) * (rank - below)) / within : upper;
}
