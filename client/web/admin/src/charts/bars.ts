/** Distributions of scores as steps, two of them over each other. */

import { drawing, drawingWidth, svg, ticks } from "./svg.js";

const WIDE = 560;
const HEIGHT = 190;
const LEFT = 48;
const BOTTOM = 34;
const TOP = 8;
const RIGHT = 6;

/** `shares`: of each step, from `from` upwards. `kind`: how it is drawn. */
export interface Steps {
  readonly from: number;
  readonly width: number;
  readonly shares: readonly number[];
  readonly kind: "filled-1" | "filled-2" | "outlined";
}

/** A vertical line with a name. */
export interface Mark {
  readonly at: number;
  readonly name: string;
}

export function drawSteps(
  label: string,
  axis: { readonly from: number; readonly to: number; readonly name: string },
  distributions: readonly Steps[],
  marks: readonly Mark[] = [],
): SVGSVGElement {
  const width = drawingWidth(WIDE);
  const root = drawing(width, HEIGHT, label);
  const highest = Math.max(0.01, ...distributions.flatMap(({ shares }) => shares));
  const levels = ticks(highest);
  const top = levels.at(-1) ?? 1;
  const x = (score: number) => LEFT + ((width - LEFT - RIGHT) * (score - axis.from)) / (axis.to - axis.from);
  const y = (share: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - share / top);
  for (const level of levels) {
    root.append(
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(level), y2: y(level), class: level === 0 ? "axis" : "grid" }),
      svg("text", { x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, `${Number((100 * level).toPrecision(3))} %`),
    );
  }
  for (const { from, width: step, shares, kind } of distributions) {
    let path = `M${x(from).toFixed(1)} ${y(0).toFixed(1)}`;
    shares.forEach((share, place) => {
      path += `V${y(share).toFixed(1)}H${x(from + (place + 1) * step).toFixed(1)}`;
    });
    root.append(svg("path", { d: `${path}V${y(0).toFixed(1)}`, class: `steps ${kind}` }));
  }
  for (const { at, name } of marks) {
    root.append(
      svg("line", { x1: x(at), x2: x(at), y1: TOP, y2: y(0), class: "mark" }),
      svg("text", { x: x(at) - 4, y: TOP + 10, "text-anchor": "end", class: "mark-name" }, name),
    );
  }
  const gap = axis.to - axis.from > 1 || width < WIDE ? 0.2 : 0.1;
  const count = Math.floor(1e-9 + (axis.to - axis.from) / gap);
  for (let place = 0; place <= count; place += 1) {
    // From above, so that 1 has its mark whatever the lowest score is.
    const score = axis.to - place * gap;
    const anchor = place === 0 ? "end" : "middle";
    root.append(svg("text", { x: x(score), y: HEIGHT - BOTTOM + 15, "text-anchor": anchor }, String(Number(score.toFixed(2)))));
  }
  root.append(svg("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, axis.name));
  return root;
}
