/** The JSON of the server's answers, as far as this view reads it (docs/openapi.json). */

import type { EncoderDescription, GalleryDescription, GalleryList, Item } from "@askew/client";

export type { Item, ItemPage, Payload, SearchAnswer } from "@askew/client";

export interface Gallery extends GalleryDescription {
  readonly sequence: number;
  readonly index: string;
  readonly exact: boolean;
  readonly photo_size: number;
  readonly scales: readonly number[];
  readonly aliases: readonly string[];
}

export interface Galleries extends GalleryList {
  readonly galleries: readonly Gallery[];
  readonly damaged: readonly { readonly name: string; readonly reason: string }[];
}

export type IndexKind = "auto" | "exact" | "two-stage" | "ivf-two-stage" | "gpu-exact";

export interface IndexState {
  readonly wanted: IndexKind;
  readonly chosen: IndexKind;
  readonly kind: IndexKind;
  readonly exact: boolean;
  readonly vectors: number;
  readonly main: number;
  readonly tail: number;
  readonly removed: number;
  readonly bytes_memory: number;
  readonly bytes_mapped: number;
  readonly k_factor?: number | null;
  readonly recall_at_10?: number | null;
  readonly generation: number;
  readonly state: "ready" | "unverified" | "damaged";
  readonly building: boolean;
  readonly failure?: string | null;
}

/** An item with its vector, base64 of float16, which its photo and payload can be stored with again. */
export interface StoredItem extends Item {
  readonly photo_sha256?: string | null;
  readonly vector?: string | null;
  readonly dtype?: string | null;
}

/** `percentiles`: 101 rising scores, from 0 to 100 %. */
export interface ScoreDistribution {
  readonly count: number;
  readonly percentiles: readonly number[];
}

export interface AdmissionReport {
  readonly gallery: string;
  readonly admitted: boolean;
  readonly reasons: readonly string[];
  readonly opset?: number | null;
  readonly probes: number;
  readonly probes_from?: "probes" | "items" | null;
  readonly mean_cosine?: number | null;
  readonly mean_cosine_others?: number | null;
  readonly self_recall_at_1?: number | null;
  readonly recall_at_1?: number | null;
  readonly recall_at_10?: number | null;
  readonly compared_items?: number | null;
  readonly floors: Readonly<Record<string, number>>;
  readonly milliseconds_per_photo?: number | null;
  readonly matches?: ScoreDistribution | null;
  readonly false_matches?: ScoreDistribution | null;
}

export const RUNTIMES = ["web", "ios", "android", "python"] as const;
export type Runtime = (typeof RUNTIMES)[number];

export interface Encoder extends Omit<EncoderDescription, "report"> {
  readonly admitted_at: string;
  readonly default_for: readonly Runtime[];
  readonly report?: AdmissionReport | null;
}

export type JobState = "waiting" | "running" | "done" | "failed" | "cancelled";

export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly gallery: string;
  readonly state: JobState;
  readonly done: number;
  readonly total?: number | null;
  readonly result?: Readonly<Record<string, unknown>> | null;
  readonly problem?: { readonly title?: string; readonly detail?: string } | null;
  readonly created_at: string;
  readonly started_at?: string | null;
  readonly ended_at?: string | null;
}

export interface Snapshot {
  readonly name: string;
  readonly gallery: string;
  readonly created_at: string;
  readonly items: number;
  readonly photos: number;
  readonly bytes: number;
  readonly sha256: string;
}

/** `bytes`: of one item's code; null: chosen by measurement. `thumbnails`: 0 for none. */
export interface OfflinePackPolicy {
  readonly fields: readonly string[];
  readonly thumbnails: number;
  readonly bytes?: number | null;
  readonly refresh_minutes: number;
}

export interface OfflinePack {
  readonly sequence: number;
  readonly created_at: string;
  readonly items: number;
  readonly size: number;
  readonly fields: readonly string[];
  readonly thumbnails: number;
  readonly codec: { readonly kind: string; readonly bytes: number };
  readonly recall?: { readonly at: number; readonly value: number; readonly queries: number } | null;
  readonly gallery_sequence: number;
  readonly is_current: boolean;
  readonly building?: string | null;
  readonly policy?: OfflinePackPolicy | null;
}

export type Scope = "search" | "write" | "admin";

export interface NewKey {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly galleries: readonly string[] | null;
  readonly requests_per_second: number | null;
  readonly expires_at: string | null;
}

export interface KeyDescription extends NewKey {
  readonly id: string;
  readonly created_at: string;
}

/** `key`: the text to send; no later answer has it. */
export interface CreatedKey extends KeyDescription {
  readonly key: string;
}
