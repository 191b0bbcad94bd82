/** What the gate found when it examined an encoder, with the scores of matches and non-matches drawn. */

import { make } from "../../../common/dom.js";
import { formatCount, formatMilliseconds, formatScore } from "../../../common/format.js";
import type { AdmissionReport, ScoreDistribution } from "../api/index.js";
import { drawSteps, type Mark, type Steps } from "../charts/bars.js";
import { sharesOf } from "../charts/shares.js";
import { makeBadge, makeHint } from "../parts/controls.js";
import { formatShare } from "../numbers.js";
import { COMMON, REPORT } from "../strings.js";

const STEP = 0.02;

export function makeReport(report: AdmissionReport, gallery: string): HTMLElement {
  const part = make("div", "report");
  if (!report.admitted) {
    const reasons = report.reasons.map((reason) => make("li", "", reason));
    part.append(make("p", "", makeBadge(REPORT.refused, "bad")), make("ul", "", ...reasons));
  }
  if (report.gallery !== gallery) part.append(makeHint(REPORT.ofGallery(report.gallery)));
  if (report.mean_cosine == null) return part;
  part.append(makeFigures(report));
  const { matches, false_matches: others } = report;
  if (matches) part.append(drawScores(matches, others ?? undefined));
  const from = report.probes_from === "probes" ? REPORT.fromProbes : REPORT.fromItems;
  part.append(makeHint(REPORT.measured(formatCount(report.probes), from)));
  return part;
}

function makeFigures(report: AdmissionReport): HTMLElement {
  const { floors } = report;
  const figures: [name: string, value: number | null | undefined, floor: number | undefined, text: (value: number) => string][] = [
    [REPORT.meanCosine, report.mean_cosine, floors["mean_cosine"], formatScore],
    [REPORT.selfRecall, report.self_recall_at_1, floors["self_recall_at_1"], formatShare],
    [REPORT.recallAt1, report.recall_at_1, undefined, formatShare],
    [REPORT.recallAt10, report.recall_at_10, floors["recall_at_10"], formatShare],
    [REPORT.meanCosineOthers, report.mean_cosine_others, undefined, formatScore],
    [REPORT.milliseconds, report.milliseconds_per_photo, undefined, formatMilliseconds],
  ];
  const list = make("dl", "tiles");
  for (const [name, value, floor, text] of figures) {
    const shown = make("dd", "", value == null ? COMMON.none : text(value));
    const tile = make("div", "tile", make("dt", "", name), shown);
    if (floor !== undefined) tile.append(make("dd", "hint", REPORT.floor(text(floor))));
    list.append(tile);
  }
  return list;
}

function drawScores(matches: ScoreDistribution, others: ScoreDistribution | undefined): HTMLElement {
  const given = others ? [matches, others] : [matches];
  const lowest = Math.min(...given.map(({ percentiles }) => percentiles[0] ?? 0));
  // Steps begin at round scores.
  const from = Math.max(-1, Math.floor(lowest / 0.1) * 0.1);
  const steps = Math.max(1, Math.round((1 - from) / STEP));
  const kinds = ["filled-1", "filled-2"] as const;
  const drawn: Steps[] = given.map(({ percentiles }, place) => ({
    ...sharesOf(percentiles, from, 1, steps),
    kind: kinds[place] ?? "outlined",
  }));
  const threshold = others?.percentiles[95];
  const marks: Mark[] = threshold === undefined ? [] : [{ at: threshold, name: REPORT.threshold }];
  const label = REPORT.drawingLabel(median(matches), others && median(others));
  const legend = make("ul", "legend");
  legend.setAttribute("role", "list");
  given.forEach(({ count, percentiles }, place) => {
    const name = place === 0 ? REPORT.matches : REPORT.others;
    const range = REPORT.range(formatScore(percentiles[50] ?? 0), formatScore(percentiles[5] ?? 0), formatScore(percentiles[95] ?? 0));
    legend.append(make("li", "", make("span", `key ${kinds[place] ?? ""}`), ` ${name} (${formatCount(count)}): `, make("span", "hint", range)));
  });
  const figure = make("figure", "", drawSteps(label, { from, to: 1, name: REPORT.axis }, drawn, marks), legend);
  figure.append(make("figcaption", "hint", REPORT.drawnFrom));
  return figure;
}

const median = ({ percentiles }: ScoreDistribution): string => formatScore(percentiles[50] ?? 0);
