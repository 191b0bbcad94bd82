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
}

export interface GalleryList {
  readonly galleries: readonly GalleryDescription[];
  readonly default_gallery: string;
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
  readonly report?: { readonly recall_at_10?: number | null; readonly false_matches?: object | null } | null;
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
}

export interface Item {
  readonly id: string;
  readonly payload: Payload;
  readonly has_photo: boolean;
}

export interface ItemPage {
  readonly items: readonly Item[];
  readonly next_cursor: string | null;
}
