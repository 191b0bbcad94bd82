/** Lines over time. */

import { make } from "../../../common/dom.js";
import { drawing, drawingWidth, svg, ticks } from "./svg.js";

const WIDE = 520;
const HEIGHT = 170;
const LEFT = 48;
const BOTTOM = 20;
const TOP = 8;
const RIGHT = 8;

/** `values`: one for each moment; undefined where there is none. */
export interface Line {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
}

/** `seconds`: the moments, rising; undefined is a gap. `now`: the end of the axis; `span`: its length in seconds. */
export interface LineChart {
  readonly label: string;
  readonly seconds: readonly (number | undefined)[];
  readonly now: number;
  readonly span: number;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  readonly agoLabel: string;
  readonly nowLabel: string;
}

export function drawLineChart(chart: LineChart): SVGSVGElement {
  const { label, seconds, now, span, lines, format } = chart;
  const width = drawingWidth(WIDE);
  const highest = Math.max(0, ...lines.flatMap(({ values }) => values.filter((each) => each !== undefined)));
  const marks = ticks(highest);
  const top = marks.at(-1) ?? 1;
  const x = (moment: number) => LEFT + (width - LEFT - RIGHT) * (1 - (now - moment) / span);
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const root = drawing(width, HEIGHT, label);
  for (const mark of marks) {
    root.append(
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark), class: mark === 0 ? "axis" : "grid" }),
      svg("text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, format(mark)),
    );
  }
  root.append(
    svg("text", { x: LEFT, y: HEIGHT - 4 }, chart.agoLabel),
    svg("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, chart.nowLabel),
  );
  lines.forEach(({ values }, place) => {
    let path = "";
    let isDrawing = false;
    seconds.forEach((moment, index) => {
      const value = values[index];
      if (moment === undefined || value === undefined || moment < now - span) {
        isDrawing = false;
        return;
      }
      // A point without neighbours is seen as a dot, by its round end.
      path += isDrawing ? `L${x(moment).toFixed(1)} ${y(value).toFixed(1)}` : `M${x(moment).toFixed(1)} ${y(value).toFixed(1)}h0`;
      isDrawing = true;
    });
    if (path) root.append(svg("path", { d: path, class: `line series-${place + 1}` }));
  });
  return root;
}

/** The names of lines with the marks that they are drawn with. `values`: shown after the names. */
export function makeLegend(names: readonly string[], values: readonly string[] = []): HTMLElement {
  const entries = names.map((name, place) => {
    const mark = svg("svg", { viewBox: "0 0 22 10", width: 22, height: 10, "aria-hidden": "true" });
    mark.append(svg("path", { d: "M1 5h20", class: `line series-${place + 1}` }));
    const value = values[place];
    return make("li", "", mark, ` ${name}`, ...(value === undefined ? [] : [make("strong", "", ` ${value}`)]));
  });
  const list = make("ul", "legend", ...entries);
  list.setAttribute("role", "list");
  return list;
}
