/** SVG elements, made without markup and without style attributes, which the page's policy forbids. */

export type Attributes = Readonly<Record<string, string | number>>;

export function svg<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...content: (Node | string)[]
): SVGElementTagNameMap[Tag] {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...content);
  return made;
}

/** A drawing that scales with its column. `label`: what a screen reader says instead. */
export function drawing(width: number, height: number, label: string): SVGSVGElement {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart" });
}

/** The width to draw in: less on a narrow screen, so that texts keep their size. `wide`: elsewhere. */
export const drawingWidth = (wide: number): number => (innerWidth < 600 ? 340 : wide);

/** Up to about `wanted` round values from 0 to at least `top`. */
export function ticks(top: number, wanted = 3): number[] {
  if (!(top > 0)) return [0, 1];
  const rough = top / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? rough;
  const count = Math.ceil(top / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, place) => Number((place * step).toPrecision(6)));
}
