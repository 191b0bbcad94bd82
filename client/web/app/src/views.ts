/** What the grid shows for the items of a gallery, for the hits of a photo, and for the items like another one. */

import type { GalleryDescription, Hit, OfflinePack, PackHit, PackItem, SearchAnswer } from "@askew/client";

import type { Entry } from "./cards.js";
import { titleOf } from "./payload.js";
import type { Found } from "./photo-search.js";
import type { EarlierQuery } from "./query-store.js";
import type { View } from "./results.js";
import { EARLIER, RESULTS } from "./strings.js";

// An answer does not say whether a hit has a photo: a missing one is replaced by a letter.
const toEntry = ({ id, payload, score }: Hit): Entry => ({ id, payload, score, hasPhoto: true });

/** An item of the copy on this device, whose picture lies there, too. */
export function packEntry(pack: OfflinePack, { id, index, payload, ...rest }: PackItem | PackHit): Entry {
  const photo = () => pack.thumbnail(index);
  return { id, payload, hasPhoto: pack.hasThumbnail(index), photo, ...("score" in rest && { score: rest.score }) };
}

export function itemsView({ items, name }: GalleryDescription, entries: readonly Entry[], hasMore: boolean): View {
  const shown = entries.length;
  const count = hasMore ? RESULTS.itemsShown(shown, items) : RESULTS.items(shown);
  const status = shown === 0 ? RESULTS.empty : count;
  // A copy: the entries grow with the next page.
  return { state: "ready", heading: RESULTS.itemsHeading(name), status, entries: [...entries], hasMore };
}

export function hitsView({ items }: GalleryDescription, { answer, hasThreshold, inPack }: Found): View {
  const entries = inPack ? inPack.hits.map((hit) => packEntry(inPack.pack, hit)) : answer.hits.map(toEntry);
  if (entries.length === 0) {
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
  return { state: "found", heading, status: RESULTS.hits(entries.length), entries };
}

/** A photo that is searched when there is a network. */
export function waitingView(): View {
  return { state: "waiting", heading: EARLIER.keptHeading, status: EARLIER.kept, entries: [] };
}

/** What was found for a search that had waited. */
export function earlierView({ hits, label }: EarlierQuery): View {
  const isFound = hits.length > 0;
  return {
    state: isFound ? "found" : "nothing",
    heading: EARLIER.heading(label),
    status: isFound ? RESULTS.hits(hits.length) : RESULTS.nothing,
    entries: hits.map(toEntry),
  };
}

export const similarAtServer = (entry: Entry, { hits }: SearchAnswer): View => similarView(entry, hits.map(toEntry));

export const similarInPack = (entry: Entry, pack: OfflinePack, hits: readonly PackHit[]): View =>
  similarView(
    entry,
    hits.map((hit) => packEntry(pack, hit)),
  );

function similarView(entry: Entry, entries: readonly Entry[]): View {
  return {
    state: entries.length === 0 ? "nothing" : "found",
    heading: RESULTS.similarHeading(titleOf(entry)),
    status: entries.length === 0 ? RESULTS.nothingSimilar : RESULTS.hits(entries.length),
    entries,
  };
}
