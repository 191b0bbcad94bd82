/** Items and hits as cards, and the credits that stand under every photo. */

import type { Payload } from "@askew/client";

import { make } from "./dom.js";
import { formatScore } from "./format.js";
import { creditsOf, titleOf } from "./payload.js";
import { RESULTS } from "./strings.js";
import type { Thumbnails } from "./thumbnails.js";

/**
 * An item of the gallery. `score`: only if it was found by a search. `photo`: reads its picture from this device; undefined
 * for one that the server has.
 */
export interface Entry {
  readonly id: string;
  readonly payload: Payload;
  readonly hasPhoto: boolean;
  readonly score?: number;
  readonly photo?: (() => Blob | undefined) | undefined;
}

/** `onOpen`: called with the button that was pressed, so that the focus can return to it. */
export function makeCard(entry: Entry, thumbnails: Thumbnails, onOpen: (opener: HTMLElement) => void): HTMLLIElement {
  const title = titleOf(entry);
  const open = make("button", "title", title);
  open.type = "button";
  open.dir = "auto";
  open.setAttribute("aria-haspopup", "dialog");
  open.addEventListener("click", () => onOpen(open));
  const card = make("li", "card", thumbnails.make({ ...entry, title }), make("h3", "", open));
  card.dataset["id"] = entry.id;
  if (entry.score !== undefined) card.append(makeScore(entry.score));
  card.append(...makeCredits(entry.payload, title));
  return card;
}

export function makeScore(score: number): HTMLParagraphElement {
  const made = make("p", "score", RESULTS.score(formatScore(score)));
  made.dataset["score"] = String(score);
  return made;
}

/** A paragraph with author, licence and source; nothing if the payload names none of them. */
export function makeCredits(payload: Payload, title: string): HTMLElement[] {
  const { author, licence, source } = creditsOf(payload);
  const parts: (Node | string)[] = [author, licence].filter((part) => part !== undefined);
  if (source) {
    const link = make("a", "", RESULTS.source);
    link.href = source;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    link.setAttribute("aria-label", RESULTS.sourceOf(title));
    parts.push(link);
  }
  if (parts.length === 0) return [];
  return [make("p", "credits", ...parts.flatMap((part, place) => (place === 0 ? [part] : [" · ", part])))];
}
