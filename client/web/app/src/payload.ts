/** What an item's payload says. Payloads are untrusted: any value may have any type. */

import type { Payload } from "@askew/client";

export interface Credits {
  readonly author: string | undefined;
  readonly licence: string | undefined;
  /** An address that is safe to link to: http or https. */
  readonly source: string | undefined;
}

export function titleOf({ id, payload }: { readonly id: string; readonly payload: Payload }): string {
  return readText(payload["title"]) ?? id;
}

export function creditsOf(payload: Payload): Credits {
  return {
    author: readText(payload["author"]),
    licence: readText(payload["licence"]),
    source: readWebAddress(payload["source"]),
  };
}

/** The fields that neither the title nor the credits show, as texts. */
export function otherFields(payload: Payload): [name: string, value: string][] {
  const shown = new Set(readText(payload["title"]) ? ["title"] : []);
  for (const [name, value] of Object.entries(creditsOf(payload))) if (value !== undefined) shown.add(name);
  return Object.entries(payload)
    .filter(([name, value]) => !shown.has(name) && value !== null && value !== "")
    .map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
}

const readText = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() ? value : undefined;

function readWebAddress(value: unknown): string | undefined {
  const text = readText(value);
  // `javascript:` and similar addresses must never become a link.
  if (!text || !/^https?:\/\//i.test(text)) return undefined;
  try {
    return new URL(text).href;
  } catch {
    return undefined;
  }
}
