/** One reading of `/metrics`, and the difference between two of them. */

import type { Histogram } from "./histogram.js";
import { parseMetrics, type Sample } from "./prometheus.js";

export type LabelTest = (labels: Readonly<Record<string, string>>) => boolean;

/** The metrics that are shown. The others are not kept: a server with many galleries has many of them. */
const SHOWN = new Set([
  "askew_describe_queue_depth",
  "askew_expected_match_score",
  "askew_http_request_duration_seconds_bucket",
  "askew_http_requests_total",
  "askew_index_vectors",
  "askew_jobs",
  "askew_queue_depth",
  "askew_ready",
  "askew_searches_total",
  "askew_space_rejections_total",
  "askew_top1_score_bucket",
  "process_resident_memory_bytes",
]);

const anyLabels: LabelTest = () => true;

export class Reading {
  /** Samples by name, and by their labels as one text. */
  private readonly byName = new Map<string, Map<string, Sample>>();

  /** Throws SyntaxError for a text that is not in Prometheus's format. */
  constructor(text: string) {
    for (const sample of parseMetrics(text)) {
      if (!SHOWN.has(sample.name)) continue;
      let series = this.byName.get(sample.name);
      if (!series) this.byName.set(sample.name, (series = new Map<string, Sample>()));
      series.set(JSON.stringify(Object.entries(sample.labels).sort()), sample);
    }
  }

  samples(name: string, fits: LabelTest = anyLabels): readonly Sample[] {
    return [...this.series(name).values()].filter(({ labels }) => fits(labels));
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
    for (const [{ labels }, count] of this.grown(`${name}_bucket`, fits, before)) {
      const bound = labels["le"] === "+Inf" ? Infinity : Number(labels["le"]);
      counts.set(bound, (counts.get(bound) ?? 0) + count);
    }
    const bounds = [...counts.keys()].sort((a, b) => a - b);
    return { bounds, cumulative: bounds.map((bound) => counts.get(bound) ?? 0) };
  }

  /** How much counters have grown since an earlier reading. */
  growth(name: string, before: Reading, fits: LabelTest = anyLabels): number {
    return this.grown(name, fits, before).reduce((sum, [, growth]) => sum + growth, 0);
  }

  private grown(name: string, fits: LabelTest, before: Reading | undefined): [Sample, number][] {
    const earlier = before?.series(name);
    return [...this.series(name)]
      .filter(([, { labels }]) => fits(labels))
      .map(([key, sample]) => {
        const value = earlier?.get(key)?.value ?? 0;
        // A counter that fell began anew: the server was started again, or the gallery was made again.
        return [sample, sample.value >= value ? sample.value - value : sample.value];
      });
  }

  private series(name: string): ReadonlyMap<string, Sample> {
    return this.byName.get(name) ?? new Map<string, Sample>();
  }
}
