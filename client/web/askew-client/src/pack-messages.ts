/** What the page and the worker of an offline pack send to each other; replies are those of `worker-calls.ts`. */

import type { PackHeader } from "./pack-file.js";
import type { PackSearchOptions } from "./pack-search.js";

/** `codec`, `codes`, `scales`, `rowLengths`, `rows`: the bytes of the sections of these names. */
export interface OpenPack {
  readonly kind: "open";
  readonly header: PackHeader;
  readonly codec: Uint8Array<ArrayBuffer>;
  readonly codes: Uint8Array<ArrayBuffer>;
  readonly scales: Uint8Array<ArrayBuffer>;
  readonly rowLengths: Uint8Array<ArrayBuffer>;
  readonly rows: Uint8Array<ArrayBuffer>;
}

export type PackRequest =
  | OpenPack
  | { readonly kind: "search"; readonly query: Float32Array; readonly options: PackSearchOptions }
  | { readonly kind: "similar"; readonly itemId: string; readonly limit: number }
  | { readonly kind: "items"; readonly from: number; readonly count: number };
