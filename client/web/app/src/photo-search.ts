/** Searches a gallery with a photo: described on this device, or by the server if the person allowed that. */

import { type Crop, type Description, ProblemError, type TimedAnswer } from "@askew/client";

import { cutPhoto } from "./cut-photo.js";
import type { OpenEncoder } from "./encoder-loader.js";
import type { Session } from "./session.js";

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
    private readonly onSwitch: (encoder: string) => void,
  ) {}

  /** Describe the photo on this device and search with its vector. Throws ProblemError, DeviceError, AbortError. */
  async onDevice(query: PhotoQuery, signal: AbortSignal): Promise<Found> {
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

  private async searchWith(open: OpenEncoder, query: PhotoQuery, signal: AbortSignal): Promise<Found> {
    const { id, report, space } = open.description;
    const { milliseconds, vector } = await this.describe(open, query);
    signal.throwIfAborted();
    const maxFalseMatch = report?.false_matches ? query.maxFalseMatch : undefined;
    const answer = await this.session.client.search(
      this.session.gallery.name,
      { vector, space, encoder: id },
      { limit: MAX_HITS, signal, ...(maxFalseMatch !== undefined && { maxFalseMatch }) },
    );
    return { answer, hasThreshold: maxFalseMatch !== undefined, encoder: id, describing: milliseconds };
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

const isForeignEncoder = (error: unknown): boolean =>
  error instanceof ProblemError && (error.kind === "space-mismatch" || error.kind === "encoder-not-admitted");
