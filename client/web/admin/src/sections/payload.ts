/** What an item's payload says, as text. Payloads are untrusted: any value may have any type. */

import type { Payload } from "../api/index.js";
import { ITEM } from "../strings.js";

/** The title, else the first two fields. */
export function summaryOf(payload: Payload): string {
  const { title } = payload as { readonly title?: unknown };
  if (typeof title === "string" && title.trim()) return title;
  return Object.entries(payload)
    .slice(0, 2)
    .map(([name, value]) => `${name}: ${textOf(value)}`)
    .join(" · ");
}

export const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** A payload as it was typed. Throws Error with a sentence. */
export function parsePayload(text: string): Payload {
  let payload: unknown;
  try {
    payload = JSON.parse(text);
  } catch (error) {
    throw new Error(ITEM.notJson(error instanceof Error ? error.message : ""));
  }
  if (holdsLongNumber(payload)) throw new Error(ITEM.longNumber);
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) throw new Error(ITEM.notAnObject);
  return payload as Payload;
}

/** Whether a value holds an integer of more digits than a browser keeps: it would be stored as another number. */
export function holdsLongNumber(value: unknown): boolean {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  return typeof value === "object" && value !== null && Object.values(value).some(holdsLongNumber);
}
