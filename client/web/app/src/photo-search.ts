/**
 * Searches a gallery with a photo: described on this device, or by the server if the person allowed that. Without a network,
 * the copy of the gallery on this device is searched; where there is none, the vector waits.
 */

import {
  type Crop,
  type Description,
  DeviceError,
  type OfflinePack,
  type PackHit,
  ProblemError,
  type SearchAnswer,
  type TimedAnswer,
  falseMatchThreshold,
  isUnreachable,
} from "@askew/client";

import { cutPhoto } from "./cut-photo.js";
import type { OpenEncoder } from "./encoder-loader.js";
import type { Waiting } from "./query-queue.js";
import type { Session } from "./session.js";
import { EARLIER } from "./strings.js";

/** The number of hits that a search asks for. */
export const MAX_HITS = 24;

export interface PhotoQuery {
  readonly photo: Blob;
  readonly crop: Crop | undefined;
  /** The share of photos without a match that may still get a hit; undefined: the nearest are shown. */
  readonly maxFalseMatch: number | undefined;
}

export interface Found {
  readonly answer: TimedAnswer;
  /** Whether hits below a threshold were left out. */
  readonly hasThreshold: boolean;
  readonly encoder: string | undefined;
  /** How long describing took on this device, in milliseconds; undefined if the server described the photo. */
  readonly describing: number | undefined;
  /** Where the copy on this device was searched: the copy, and the hits in it. */
  readonly inPack?: { readonly pack: OfflinePack; readonly hits: readonly PackHit[] };
}

/** What a search comes to: hits, or a query that waits, for want of a network (`cause`). */
export type Outcome = Found | { readonly waiting: Waiting; readonly cause: unknown };

/** The copy of the gallery on this device. `isOffline`: whether the server is known not to answer. */
export interface Copy {
  readonly isOffline: boolean;
  open(): Promise<OfflinePack | undefined>;
}

interface Described {
  readonly query: PhotoQuery;
  readonly sha256: string;
  readonly description: Description;
}

export class PhotoSearch {
  private last: Described | undefined;

  /** `onSwitch`: called with the id of a new encoder, if the gallery does not accept the open one any more. */
  constructor(
    private readonly session: Session,
    private readonly copy: Copy,
    private readonly onSwitch: (encoder: string) => void,
  ) {}

  /** Describe the photo on this device and search with its vector. Throws ProblemError, DeviceError, AbortError. */
  async onDevice(query: PhotoQuery, signal: AbortSignal): Promise<Outcome> {
    const open = await this.session.encoder();
    try {
      return await this.searchWith(open, query, signal);
    } catch (error) {
      if (!isForeignEncoder(error)) throw error;
      const renewed = await this.session.renewEncoder();
      if (renewed.description.sha256 === open.description.sha256) throw error;
      this.onSwitch(renewed.description.id);
      return this.searchWith(renewed, query, signal);
    }
  }

  /** Send the photo to the server. Throws ProblemError, DeviceError, AbortError. */
  async onServer({ crop, photo }: PhotoQuery, signal: AbortSignal): Promise<Found> {
    const sent = await cutPhoto(photo, crop);
    signal.throwIfAborted();
    const answer = await this.session.client.searchPhoto(this.session.gallery.name, sent, { limit: MAX_HITS, signal });
    return { answer, hasThreshold: false, encoder: answer.encoder ?? undefined, describing: undefined };
  }

  private async searchWith(open: OpenEncoder, query: PhotoQuery, signal: AbortSignal): Promise<Outcome> {
    const { id: encoder, report, space } = open.description;
    const { milliseconds: describing, vector } = await this.describe(open, query);
    signal.throwIfAborted();
    const maxFalseMatch = report?.false_matches ? query.maxFalseMatch : undefined;
    const found = { hasThreshold: maxFalseMatch !== undefined, encoder, describing };
    const label = labelOf(query);
    const waiting: Waiting = { vector, space, encoder, maxFalseMatch, label };
    const here = this.copy.isOffline ? await this.searchCopy(open, waiting) : undefined;
    if (here) return { ...found, ...here };
    try {
      const options = { limit: MAX_HITS, signal, ...(maxFalseMatch !== undefined && { maxFalseMatch }) };
      return { ...found, answer: await this.session.client.search(this.session.gallery.name, waiting, options) };
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      const instead = await this.searchCopy(open, waiting);
      return instead ? { ...found, ...instead } : { waiting, cause: error };
    }
  }

  /** Search the copy on this device, with the threshold that the server would compute; undefined if there is no copy. */
  private async searchCopy(
    { description: { report } }: OpenEncoder,
    { encoder, maxFalseMatch, space, vector }: Waiting,
  ): Promise<Pick<Found, "answer" | "inPack"> | undefined> {
    const pack = await this.copy.open().catch((error: unknown) => {
      // Without the script of its worker, the copy cannot be searched: the vector waits instead.
      if (error instanceof DeviceError && error.kind === "no-engine") return undefined;
      throw error;
    });
    if (!pack) return undefined;
    const measured = report?.false_matches?.percentiles;
    const scoreThreshold = measured && maxFalseMatch !== undefined ? falseMatchThreshold(measured, maxFalseMatch) : undefined;
    const { hits, milliseconds } = await pack.search(vector, space, { limit: MAX_HITS, scoreThreshold });
    const answer: SearchAnswer = { hits, space, gallery: pack.header.gallery, encoder, exact: false };
    return { answer: { ...answer, milliseconds, bytesSent: 0 }, inPack: { pack, hits } };
  }

  /** A photo is described once for each crop and encoder: another threshold needs no new vector. */
  private async describe({ description: { sha256 }, encoder }: OpenEncoder, query: PhotoQuery): Promise<Description> {
    const { last } = this;
    if (last && last.sha256 === sha256 && last.query.photo === query.photo && last.query.crop === query.crop) {
      return last.description;
    }
    const description = await encoder.describe(query.photo, query.crop);
    this.last = { query, sha256, description };
    return description;
  }
}

/** By what the person knows the photo again: the name of its file. Nothing else of it is kept. */
function labelOf({ crop, photo }: PhotoQuery): string {
  const name = (photo instanceof File && photo.name.slice(0, 80)) || EARLIER.photo;
  return crop ? EARLIER.part(name) : name;
}

const isForeignEncoder = (error: unknown): boolean =>
  error instanceof ProblemError && (error.kind === "space-mismatch" || error.kind === "encoder-not-admitted");
