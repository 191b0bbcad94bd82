/** Exact search over the codes of a pack: the items with the highest scores, ordered as a server orders hits. */

import { asSent, decode, type PackCodes, scoreAll } from "./pack-codec.js";
import { damaged } from "./pack-file.js";
import type { Payload } from "./wire-types.js";

/** An item of a pack. `index`: its place in the pack. */
export interface PackItem {
  readonly index: number;
  readonly id: string;
  readonly payload: Payload;
}

/** A hit in a pack. `score`: in [-1, 1], from the codes: it differs a little from a server's. */
export interface PackHit extends PackItem {
  readonly score: number;
}

/** `limit`: the maximum number of hits. `scoreThreshold`: the lowest score that a hit may have. */
export interface PackSearchOptions {
  readonly limit: number;
  readonly scoreThreshold?: number | undefined;
}

/** The lowest score that is not reached by chance: of the queries without a match, a share `maxFalseMatch` still reach it. */
export function falseMatchThreshold(percentiles: readonly number[], maxFalseMatch: number): number {
  // The same rule as the server's: linear between the percentiles.
  const position = Math.min(100, Math.max(0, 100 * (1 - maxFalseMatch)));
  const below = Math.min(99, Math.floor(position));
  const [low, high] = [percentiles[below]!, percentiles[below + 1]!];
  return low + (high - low) * (position - below);
}

/** Compare texts by their code points, as the server does; JavaScript compares UTF-16 units. */
export function compareCodePoints(one: string, other: string): number {
  for (let place = 0; place < one.length && place < other.length; place++) {
    const [a, b] = [one.charCodeAt(place), other.charCodeAt(place)];
    if (a === b) continue;
    // Surrogates stand for code points above all others.
    const [isHigh, isOtherHigh] = [(a & 0xf800) === 0xd800, (b & 0xf800) === 0xd800];
    return isHigh === isOtherHigh ? a - b : isHigh ? 1 : -1;
  }
  return one.length - other.length;
}

export class PackIndex {
  private places: Map<string, number> | undefined;
  private readonly decoder = new TextDecoder();

  /** `rows`: the section of that name; `offsets`: where each row begins, with the end of the last one. */
  constructor(
    private readonly pack: PackCodes,
    private readonly rows: Uint8Array,
    private readonly offsets: Float64Array,
  ) {}

  /** The hits of a query, float32 [dim], unit length; it is rounded to float16 as if it were sent. */
  search(query: Float32Array, { limit, scoreThreshold = -Infinity }: PackSearchOptions): PackHit[] {
    return this.rank(scoreAll(this.pack, asSent(query)), limit, scoreThreshold, -1);
  }

  /** The items nearest to an item, which is left out; undefined if the pack does not hold it. */
  similar(id: string, limit: number): PackHit[] | undefined {
    this.places ??= new Map(Array.from({ length: this.pack.header.items }, (_, item) => [this.idOf(item), item]));
    const item = this.places.get(id);
    if (item === undefined) return undefined;
    return this.rank(scoreAll(this.pack, asSent(decode(this.pack, item))), limit, -Infinity, item);
  }

  /** The items from a place on, in the order of the pack. */
  items(from: number, count: number): PackItem[] {
    const length = Math.max(0, Math.min(count, this.pack.header.items - from));
    return Array.from({ length }, (_, place) => this.itemAt(from + place));
  }

  private rank(scores: Float64Array, limit: number, threshold: number, excluded: number): PackHit[] {
    const worst = new Heap((one, other) => this.isBetter(scores, one, other));
    for (let item = 0; item < scores.length; item++) {
      const score = (scores[item] = Math.round(scores[item]! * 1e6) / 1e6 + 0);
      if (score < threshold || item === excluded) continue;
      if (worst.size < limit) worst.push(item);
      else if (limit > 0 && score >= scores[worst.first]! && this.isBetter(scores, item, worst.first)) {
        worst.replaceFirst(item);
      }
    }
    const found = worst.items.sort((one, other) => (this.isBetter(scores, one, other) ? -1 : 1));
    return found.map((item) => ({ ...this.itemAt(item), score: scores[item]! }));
  }

  private isBetter(scores: Float64Array, one: number, other: number): boolean {
    const difference = scores[one]! - scores[other]!;
    return difference === 0 ? compareCodePoints(this.idOf(one), this.idOf(other)) < 0 : difference > 0;
  }

  private idOf(item: number): string {
    return String(this.rowAt(item)[0]);
  }

  private itemAt(index: number): PackItem {
    const [id, ...values] = this.rowAt(index);
    const named = this.pack.header.fields.map((field, place) => [field, values[place] ?? null] as const);
    return { index, id: String(id), payload: Object.fromEntries(named.filter(([, value]) => value !== null)) };
  }

  private rowAt(item: number): unknown[] {
    const text = this.decoder.decode(this.rows.subarray(this.offsets[item], this.offsets[item + 1]));
    try {
      const row: unknown = JSON.parse(text);
      if (Array.isArray(row)) return row;
    } catch {
      // Told below.
    }
    throw damaged(`row ${item} is no JSON list`);
  }
}

/** A heap whose first item is the one that all others are better than. */
class Heap {
  readonly items: number[] = [];

  constructor(private readonly isBetter: (one: number, other: number) => boolean) {}

  get size(): number {
    return this.items.length;
  }

  get first(): number {
    return this.items[0]!;
  }

  push(item: number): void {
    const { items } = this;
    let place = items.push(item) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (!this.isBetter(items[above]!, item)) break;
      items[place] = items[above]!;
      place = above;
    }
    items[place] = item;
  }

  replaceFirst(item: number): void {
    const { items } = this;
    let place = 0;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && this.isBetter(items[below]!, items[below + 1]!)) below++;
      if (!this.isBetter(item, items[below]!)) break;
      items[place] = items[below]!;
      place = below;
    }
    items[place] = item;
  }
}
