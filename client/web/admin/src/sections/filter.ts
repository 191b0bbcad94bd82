/** Filters: conditions on payloads (docs/api.md) as rows of a form, and as the JSON that the server takes. */

export const OPERATORS = ["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "lacks"] as const;
export type Operator = (typeof OPERATORS)[number];

/** `value`: as typed. A JSON number, `true` or `false` is taken as that, and anything else as text. */
export interface Condition {
  readonly field: string;
  readonly operator: Operator;
  readonly value: string;
}

/** A key of a payload as the path that names it: one with a dot, for instance, is a JSON string. */
export function fieldPath(key: string): string {
  return /^[^\x00-\x1f".[\]]+$/.test(key) && key === key.trim() ? key : JSON.stringify(key);
}

const BOUNDS: readonly string[] = ["gt", "gte", "lt", "lte"];

/** The filter that all conditions make; undefined without conditions. */
export function filterOf(conditions: readonly Condition[]): object | undefined {
  const filters = conditions.filter(({ field }) => field.trim() !== "").map(toFilter);
  return filters.length > 1 ? { and: filters } : filters[0];
}

function toFilter({ field: written, operator, value }: Condition): object {
  const field = written.trim();
  switch (operator) {
    case "eq":
      return { field, eq: readScalar(value) };
    case "ne":
      return { not: { field, eq: readScalar(value) } };
    case "in":
      return { field, in: value.split(",").map((each) => readScalar(each.trim())) };
    case "exists":
      return { field, exists: true };
    case "lacks":
      return { field, exists: false };
    default:
      return { field, range: { [operator]: readScalar(value) } };
  }
}

/** The conditions that make a filter; undefined for one that rows of a form cannot show. */
export function conditionsOf(filter: unknown): Condition[] | undefined {
  if (!isObject(filter)) return undefined;
  const parts = Array.isArray(filter["and"]) && Object.keys(filter).length === 1 ? (filter["and"] as unknown[]) : [filter];
  const conditions = parts.map(toCondition);
  return conditions.every((each) => each !== undefined) ? conditions : undefined;
}

function toCondition(filter: unknown): Condition | undefined {
  if (!isObject(filter)) return undefined;
  if (isObject(filter["not"]) && "eq" in filter["not"]) {
    const negated = toCondition(filter["not"]);
    return negated && { ...negated, operator: "ne" };
  }
  const { field, eq, in: among, exists, range } = filter;
  if (typeof field !== "string") return undefined;
  if (eq !== undefined) return { field, operator: "eq", value: writeScalar(eq) };
  if (typeof exists === "boolean") return { field, operator: exists ? "exists" : "lacks", value: "" };
  if (Array.isArray(among)) {
    const values = among.map(writeScalar);
    return values.some((each) => each.includes(",")) ? undefined : { field, operator: "in", value: values.join(", ") };
  }
  const bounds = isObject(range) ? Object.entries(range) : [];
  const [bound] = bounds;
  if (bounds.length !== 1 || !bound || !BOUNDS.includes(bound[0])) return undefined;
  return { field, operator: bound[0] as Operator, value: writeScalar(bound[1]) };
}

function readScalar(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (["number", "boolean", "string"].includes(typeof value)) return value;
  } catch {
    // Text without quotation marks.
  }
  return text;
}

/** As `readScalar` reads it back: a text that looks like a number gets quotation marks. */
function writeScalar(value: unknown): string {
  return typeof value === "string" && readScalar(value) === value ? value : JSON.stringify(value);
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
