/** Each chart of the live view, from the readings so far. */

import { make } from "../../../common/dom.js";
import { formatCount, formatScore } from "../../../common/format.js";
import { drawSteps, type Mark, type Steps } from "../charts/bars.js";
import { drawLineChart, type Line, makeLegend } from "../charts/line-chart.js";
import { countOf, countsOf, type Histogram, quantile } from "../metrics/histogram.js";
import type { MetricsHistory, Step } from "../metrics/history.js";
import type { LabelTest } from "../metrics/reading.js";
import { formatBytes, formatNumber, formatSeconds } from "../numbers.js";
import { makeHint, makePanel, makeTiles } from "../parts/controls.js";
import { COMMON, LIVE } from "../strings.js";

/** The shortest time axis; it grows with what is kept. */
const SPANS = [60, 300, 600] as const;
const SEARCH_ROUTE = /\/(search|search\/batch|search\/photo|similar)$/;

export function makeServerTiles(history: MetricsHistory): HTMLElement {
  const now = history.latest;
  const text = (value: number | undefined, format: (value: number) => string): string =>
    value === undefined ? COMMON.unknown : format(value);
  const whole = (value: number): string => formatCount(Math.round(value));
  const isRunning: LabelTest = ({ state }) => state === "running" || state === "waiting";
  return makeTiles([
    [LIVE.ready, now?.sum("askew_ready") === 1 ? COMMON.yes : COMMON.no],
    [LIVE.items, text(now?.sum("askew_index_vectors"), whole)],
    [LIVE.waiting, text(now?.sum("askew_queue_depth"), whole)],
    [LIVE.photosWaiting, text(now?.sum("askew_describe_queue_depth"), whole)],
    [LIVE.jobs, text(now?.sum("askew_jobs", isRunning) ?? 0, whole)],
    [LIVE.memory, text(now?.sum("process_resident_memory_bytes"), formatBytes)],
  ]);
}

export function makeSearches(history: MetricsHistory, gallery: string | undefined): HTMLElement {
  const of = (isOk: boolean): LabelTest => (labels) => fits(labels, gallery) && (labels["outcome"] === "ok") === isOk;
  const rate = (isOk: boolean) => (step: Step) => step.reading.growth("askew_searches_total", step.before, of(isOk)) / step.elapsed;
  const total = history.latest?.sum("askew_searches_total", of(true)) ?? 0;
  return makeLines("searches", LIVE.searches, history, [[LIVE.answered, rate(true)], [LIVE.refused, rate(false)]], formatNumber, LIVE.total(formatCount(total)));
}

export function makeLatency(history: MetricsHistory): HTMLElement {
  const isSearch: LabelTest = ({ route, method }) => SEARCH_ROUTE.test(route ?? "") && (method === "POST" || method === "GET");
  const at = (share: number) => (step: Step) => quantile(step.reading.histogram("askew_http_request_duration_seconds", isSearch, step.before), share);
  return makeLines("latency", LIVE.latency, history, [["p50", at(0.5)], ["p95", at(0.95)]], formatSeconds, LIVE.latencyHint);
}

export function makeRejections(history: MetricsHistory, gallery: string | undefined): HTMLElement {
  const perMinute = (name: string, test: LabelTest) => (step: Step) => (60 * step.reading.growth(name, step.before, test)) / step.elapsed;
  const hasStatus = (status: string): LabelTest => (labels) => labels["status"] === status;
  return makeLines(
    "rejections",
    LIVE.rejections,
    history,
    [
      [LIVE.foreignSpace, perMinute("askew_space_rejections_total", (labels) => fits(labels, gallery))],
      [LIVE.tooMany, perMinute("askew_http_requests_total", hasStatus("429"))],
      [LIVE.noKey, perMinute("askew_http_requests_total", (labels) => labels["status"] === "401" || labels["status"] === "403")],
    ],
    formatNumber,
    LIVE.rejectionsHint,
  );
}

export function makeTopScores(history: MetricsHistory, gallery: string | undefined): HTMLElement {
  const test: LabelTest = (labels) => fits(labels, gallery);
  const { latest, first } = history;
  const whole = latest?.histogram("askew_top1_score", test) ?? { bounds: [], cumulative: [] };
  const recent = latest?.histogram("askew_top1_score", test, first) ?? { bounds: [], cumulative: [] };
  const expected = latest?.samples("askew_expected_match_score", test) ?? [];
  const lowest = Math.min(...expected.map(({ value }) => value));
  const marks: Mark[] = Number.isFinite(lowest) ? [{ at: lowest, name: LIVE.expected }] : [];
  const drawn: Steps[] = [];
  if (countOf(whole) > 0) drawn.push({ ...stepsOf(whole), kind: "outlined" });
  if (countOf(recent) > 0) drawn.push({ ...stepsOf(recent), kind: "filled-1" });
  const middle = quantile(recent, 0.5) ?? quantile(whole, 0.5);
  const label = LIVE.topScoresLabel(countOf(recent), middle === undefined ? COMMON.none : formatScore(middle));
  const legend = make("ul", "legend");
  legend.setAttribute("role", "list");
  legend.append(
    make("li", "", make("span", "key filled-1"), ` ${LIVE.thisVisit} `, make("strong", "", formatCount(countOf(recent)))),
    make("li", "", make("span", "key outlined"), ` ${LIVE.sinceStart} `, make("strong", "", formatCount(countOf(whole)))),
  );
  const panel = makePanel(LIVE.topScores, legend, drawSteps(label, { from: 0, to: 1, name: LIVE.score }, drawn, marks), makeHint(LIVE.topScoresHint));
  panel.dataset["chart"] = "top-scores";
  panel.dataset["count"] = String(countOf(recent));
  return panel;
}

/** The shares of the buckets of a histogram of scores, which are all of one width; what is below 0 counts at 0. */
function stepsOf(histogram: Histogram): Omit<Steps, "kind"> {
  const count = countOf(histogram);
  const counts = countsOf(histogram);
  const width = (histogram.bounds[1] ?? 0.05) - (histogram.bounds[0] ?? 0);
  // The first bucket holds scores of at most 0.
  const [below = 0, ...rest] = counts;
  return { from: 0, width, shares: rest.map((each, place) => (each + (place === 0 ? below : 0)) / count) };
}

type Measure = (step: Step) => number | undefined;

function makeLines(
  name: string,
  heading: string,
  history: MetricsHistory,
  measures: readonly (readonly [name: string, measure: Measure])[],
  format: (value: number) => string,
  hint: string,
): HTMLElement {
  const steps = history.steps;
  const lines: Line[] = measures.map(([line, measure]) => ({ name: line, values: steps.map((step) => step && measure(step)) }));
  const oldest = steps.find((step) => step !== undefined)?.seconds ?? history.seconds;
  const span = SPANS.find((each) => each >= history.seconds - oldest) ?? SPANS[SPANS.length - 1] ?? 600;
  const latest = lines.map(({ values }) => {
    const value = values.filter((each) => each !== undefined).at(-1);
    return value === undefined ? COMMON.none : format(value);
  });
  const chart = drawLineChart({
    label: LIVE.chartLabel(heading, lines.map((line, place) => `${line.name} ${latest[place] ?? ""}`).join(", ")),
    seconds: steps.map((step) => step?.seconds),
    now: history.seconds,
    span,
    lines,
    format,
    agoLabel: LIVE.ago(span / 60),
    nowLabel: LIVE.now,
  });
  const panel = makePanel(heading, makeLegend(lines.map((line) => line.name), latest), chart, makeHint(hint));
  panel.dataset["chart"] = name;
  // The highest of the first line, so that tests need not read a drawing.
  panel.dataset["highest"] = String(Math.max(0, ...(lines[0]?.values ?? []).map((each) => each ?? 0)));
  return panel;
}

const fits = (labels: Readonly<Record<string, string>>, gallery: string | undefined): boolean =>
  gallery === undefined || labels["gallery"] === gallery;
