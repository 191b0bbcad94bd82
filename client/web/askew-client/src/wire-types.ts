/** The JSON of the server's answers, as far as this package reads it (docs/openapi.json). */

export interface GalleryDescription {
  readonly name: string;
  readonly space: string;
  readonly dim: number;
  readonly items: number;
  readonly photos: number;
  readonly teacher: string;
  readonly describes_photos: boolean;
  readonly admitted_encoders: readonly string[];
  /** Whether the gallery may be kept on devices; older servers do not say. */
  readonly offline_pack?: boolean;
}

export interface GalleryList {
  readonly galleries: readonly GalleryDescription[];
  /** Absent if the key may not see it. */
  readonly default_gallery?: string;
}

export interface EncoderDescription {
  readonly id: string;
  readonly role: "teacher" | "student";
  readonly space: string;
  readonly dim: number;
  readonly photo_size: number;
  readonly precision: string;
  readonly sha256: string;
  readonly size: number;
  readonly galleries: readonly string[];
  readonly report?: EncoderReport | null;
}

/** What the gate measured at admission. `false_matches`: the best scores of items other than the right one. */
export interface EncoderReport {
  readonly recall_at_10?: number | null;
  readonly false_matches?: ScoreDistribution | null;
}

/** Measured scores, as 101 rising percentiles from 0 to 100 %. */
export interface ScoreDistribution {
  readonly count: number;
  readonly percentiles: readonly number[];
}

export type Payload = Readonly<Record<string, unknown>>;

/** An item that was found. `score`: the inner product of unit vectors, in [-1, 1]; higher is better. */
export interface Hit {
  readonly id: string;
  readonly score: number;
  readonly payload: Payload;
}

export interface SearchAnswer {
  readonly hits: readonly Hit[];
  readonly space: string;
  readonly gallery: string;
  readonly encoder: string | null;
  readonly exact: boolean;
  /** Those of the filter's fields, and of `group_by`, that no item of the gallery has; absent if there are none. */
  readonly unknown_fields?: readonly string[];
}

export interface Item {
  readonly id: string;
  readonly payload: Payload;
  readonly has_photo: boolean;
}

export interface ItemPage {
  readonly items: readonly Item[];
  readonly next_cursor: string | null;
  readonly unknown_fields?: readonly string[];
}

/** How many of the server's exact first `at` items a pack finds, as a share; measured with `queries` queries. */
export interface PackRecall {
  readonly at: number;
  readonly value: number;
  readonly queries: number;
}

/**
 * A gallery's offline pack. `sequence`: the number of the gallery's last change that it covers. `size`: of the file, in
 * bytes; `sha256`: of the file. `is_current`: whether the gallery has not changed since.
 */
export interface OfflinePackDescription {
  readonly gallery: string;
  readonly space: string;
  readonly sequence: number;
  readonly created_at: string;
  readonly items: number;
  readonly size: number;
  readonly sha256: string;
  readonly etag: string;
  readonly recall: PackRecall | null;
  readonly is_current: boolean;
}
