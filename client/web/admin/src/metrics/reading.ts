/** One reading of `/metrics`, and the difference between two of them. */

import type { Histogram } from "./histogram.js";
import { parseMetrics, type Sample } from "./prometheus.js";

export type LabelTest = (labels: Readonly<Record<string, string>>) => boolean;

const anyLabels: LabelTest = () => true;

export class Reading {
  private readonly byName = new Map<string, Sample[]>();

  constructor(text: string) {
    for (const sample of parseMetrics(text)) {
      const known = this.byName.get(sample.name);
      if (known) known.push(sample);
      else this.byName.set(sample.name, [sample]);
    }
  }

  samples(name: string, fits: LabelTest = anyLabels): readonly Sample[] {
    return (this.byName.get(name) ?? []).filter(({ labels }) => fits(labels));
  }

  /** The sum of the samples of a name; undefined if there is none. */
  sum(name: string, fits: LabelTest = anyLabels): number | undefined {
    const found = this.samples(name, fits);
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }

  /** The values that a label has in samples of a name. */
  labelValues(name: string, label: string): string[] {
    return [...new Set(this.samples(name).map(({ labels }) => labels[label] ?? ""))].sort();
  }

  /** The sum of the histograms of a name. `before`: an earlier reading, whose counts are subtracted. */
  histogram(name: string, fits: LabelTest = anyLabels, before?: Reading): Histogram {
    const counts = new Map<number, number>();
    const earlier = new Map<string, number>();
    const series = ({ labels }: Sample) => JSON.stringify(Object.entries(labels).sort());
    for (const sample of before?.samples(`${name}_bucket`, fits) ?? []) earlier.set(series(sample), sample.value);
    for (const sample of this.samples(`${name}_bucket`, fits)) {
      const bound = sample.labels["le"] === "+Inf" ? Infinity : Number(sample.labels["le"]);
      counts.set(bound, (counts.get(bound) ?? 0) + grown(sample.value, earlier.get(series(sample))));
    }
    const bounds = [...counts.keys()].sort((a, b) => a - b);
    return { bounds, cumulative: bounds.map((bound) => counts.get(bound) ?? 0) };
  }

  /** How much counters have grown since an earlier reading. */
  growth(name: string, before: Reading, fits: LabelTest = anyLabels): number {
    const series = ({ labels }: Sample) => JSON.stringify(Object.entries(labels).sort());
    const earlier = new Map(before.samples(name, fits).map((sample) => [series(sample), sample.value]));
    return this.samples(name, fits).reduce((sum, sample) => sum + grown(sample.value, earlier.get(series(sample))), 0);
  }
}

/** A counter that fell began anew: the server was started again, or the gallery was made again. */
const grown = (now: number, before = 0): number => (now >= before ? now - before : now);
