/** What the grid shows for the items of a gallery, for the hits of a photo, and for the items like another one. */

import type { GalleryDescription, Hit, SearchAnswer } from "@askew/client";

import type { Entry } from "./cards.js";
import { titleOf } from "./payload.js";
import type { Found } from "./photo-search.js";
import type { View } from "./results.js";
import { RESULTS } from "./strings.js";

// An answer does not say whether a hit has a photo: a missing one is replaced by a letter.
const toEntry = ({ id, payload, score }: Hit): Entry => ({ id, payload, score, hasPhoto: true });

export function itemsView({ items, name }: GalleryDescription, entries: readonly Entry[], hasMore: boolean): View {
  const shown = entries.length;
  const count = hasMore ? RESULTS.itemsShown(shown, items) : RESULTS.items(shown);
  const status = shown === 0 ? RESULTS.empty : count;
  // A copy: the entries grow with the next page.
  return { state: "ready", heading: RESULTS.itemsHeading(name), status, entries: [...entries], hasMore };
}

export function hitsView({ items }: GalleryDescription, { answer: { hits }, hasThreshold }: Found): View {
  if (hits.length === 0) {
    const isEmpty = items === 0;
    return {
      state: "nothing",
      heading: RESULTS.nothingHeading,
      status: isEmpty ? RESULTS.empty : RESULTS.nothing,
      entries: [],
      offersNearest: hasThreshold && !isEmpty,
    };
  }
  const heading = hasThreshold ? RESULTS.hitsHeading : RESULTS.nearestHeading;
  return { state: "found", heading, status: RESULTS.hits(hits.length), entries: hits.map(toEntry) };
}

export function similarView(entry: Entry, { hits }: SearchAnswer): View {
  return {
    state: hits.length === 0 ? "nothing" : "found",
    heading: RESULTS.similarHeading(titleOf(entry)),
    status: hits.length === 0 ? RESULTS.nothingSimilar : RESULTS.hits(hits.length),
    entries: hits.map(toEntry),
  };
}
