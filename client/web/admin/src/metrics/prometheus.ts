/**
 * Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4). Imports
 * nothing, so that tests can run it outside a browser.
 */

/** One sample. A histogram's samples are those of its `_bucket`, `_count` and `_sum`, as they are written. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*/y;
const REST = /^[ \t]*(\S+)(?:[ \t]+-?\d+)?[ \t]*$/;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", "\\": "\\", '"': '"' };

/** The samples of a text, in its order. Throws SyntaxError with the line that cannot be read. */
export function parseMetrics(text: string): Sample[] {
  return text
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => line.trim() !== "" && !line.trimStart().startsWith("#"))
    .map(parseSample);
}

function parseSample(line: string): Sample {
  const fail = (): never => {
    throw new SyntaxError(`Expected a sample in Prometheus's text format, got ${JSON.stringify(line.slice(0, 200))}.`);
  };
  NAME.lastIndex = line.length - line.trimStart().length;
  const name = NAME.exec(line)?.[0] ?? fail();
  let place = NAME.lastIndex;
  // Labels of the name `__proto__` must be labels like others.
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  while (/[ \t]/.test(line.charAt(place))) place += 1;
  if (line.charAt(place) === "{") {
    place += 1;
    while (line.charAt(place) !== "}") {
      LABEL.lastIndex = place;
      const found = LABEL.exec(line);
      if (!found) {
        // Spaces, alone between the braces or after a comma.
        const end = /[ \t]*\}/y;
        end.lastIndex = place;
        if (!end.test(line)) fail();
        place = end.lastIndex - 1;
        break;
      }
      labels[found[1] ?? ""] = (found[2] ?? "").replace(/\\(.)/g, (whole, each: string) => ESCAPES[each] ?? whole);
      place = LABEL.lastIndex;
      if (line.charAt(place) === ",") place += 1;
      else if (line.charAt(place) !== "}") fail();
    }
    place += 1;
  }
  const written = REST.exec(line.slice(place))?.[1] ?? fail();
  return { name, labels, value: parseValue(written) ?? fail() };
}

function parseValue(text: string): number | undefined {
  const special = /^([+-]?)inf(?:inity)?$/i.exec(text);
  if (special) return special[1] === "-" ? -Infinity : Infinity;
  if (/^[+-]?nan$/i.test(text)) return Number.NaN;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}
