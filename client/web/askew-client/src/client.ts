/** Typed calls of a server's HTTP API (docs/api.md). */

import { type Contact, type Parameters, Transport } from "./transport.js";
import { packFloat16 } from "./wire.js";
import type {
  EncoderDescription,
  GalleryDescription,
  GalleryList,
  Item,
  ItemPage,
  OfflinePackDescription,
  SearchAnswer,
} from "./wire-types.js";

/**
 * `limit`: the maximum number of hits. `maxFalseMatch`: the share of queries without a true match that may still get a
 * hit, in (0, 1); the server computes the threshold from the encoder's admission report. `scoreThreshold`: instead of
 * it, a score in [-1, 1].
 */
export interface SearchOptions {
  readonly limit?: number;
  readonly maxFalseMatch?: number;
  readonly scoreThreshold?: number;
  readonly signal?: AbortSignal;
}

/** A query: the vector with its space and the encoder that made it. */
export interface Query {
  readonly vector: Float32Array;
  readonly space: string;
  readonly encoder?: string;
}

/** An answer with what it cost. `milliseconds`: on the network and in the server; `bytesSent`: of the request's body. */
export interface TimedAnswer extends SearchAnswer {
  readonly milliseconds: number;
  readonly bytesSent: number;
}

export class AskewClient {
  private readonly transport: Transport;

  /** `server`: its address, with the path prefix if it has one. `key`: sent as a header, never in an address. */
  constructor(server: string | URL, key?: string, onContact?: Contact) {
    const base = new URL(server);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    this.transport = new Transport(base, key, onContact);
  }

  /** The server's address, with a slash at the end. */
  get address(): string {
    return this.transport.address("").href;
  }

  /** Every method throws ProblemError for an answer that is not a success, or if no answer comes. */
  async galleries(): Promise<GalleryList> {
    return this.json("v1/galleries");
  }

  async gallery(name: string): Promise<GalleryDescription> {
    return this.json(galleryPath(name));
  }

  async items(gallery: string, options: { cursor?: string; limit?: number } = {}): Promise<ItemPage> {
    return this.json(`${galleryPath(gallery)}/items`, { ...options });
  }

  async item(gallery: string, id: string): Promise<Item> {
    return this.json(itemPath(gallery, id));
  }

  /** The encoder for this device. `maxBytes`: the largest file that it can take. Throws ProblemError (no-encoder-fits). */
  async bestEncoder(gallery: string, options: { maxBytes?: number } = {}): Promise<EncoderDescription> {
    return this.json("v1/encoders/best", { gallery, runtime: "web", max_bytes: options.maxBytes });
  }

  /** The file of an encoder; its body can be read in parts. */
  async encoderFile(gallery: string, id: string, signal?: AbortSignal): Promise<Response> {
    // The answer says that it never changes: a browser's HTTP cache would give a damaged copy again and again.
    const init: RequestInit = { cache: "no-store" };
    if (signal) init.signal = signal;
    return this.send(`v1/encoders/${encodeURIComponent(id)}/file`, { gallery }, init);
  }

  /** Search with a vector that was described on this device. */
  async search(gallery: string, query: Query, options: SearchOptions = {}): Promise<TimedAnswer> {
    const headers = new Headers({
      "Content-Type": "application/octet-stream",
      "Askew-Space": query.space,
      "Askew-Dtype": "f16le",
    });
    if (query.encoder) headers.set("Askew-Encoder", query.encoder);
    return this.timedSearch(`${galleryPath(gallery)}/search`, packFloat16(query.vector), headers, options);
  }

  /** Search with a photo that the server describes: the photo leaves this device. Throws ProblemError (photo-search-off). */
  async searchPhoto(gallery: string, photo: Blob, options: SearchOptions = {}): Promise<TimedAnswer> {
    const headers = new Headers({ "Content-Type": photo.type || "application/octet-stream" });
    return this.timedSearch(`${galleryPath(gallery)}/search/photo`, photo, headers, options);
  }

  /** The items nearest to an item of the gallery, which is left out. */
  async similar(gallery: string, id: string, options: SearchOptions = {}): Promise<SearchAnswer> {
    return this.json(`${itemPath(gallery, id)}/similar`, searchParameters(options), options.signal);
  }

  /** The photo of an item. */
  async photo(gallery: string, id: string, signal?: AbortSignal): Promise<Blob> {
    return (await this.send(`${itemPath(gallery, id)}/photo`, {}, signal ? { signal } : {})).blob();
  }

  /** The pack of a gallery for devices without a network. Throws ProblemError (no-offline-pack). */
  async offlinePack(gallery: string, signal?: AbortSignal): Promise<OfflinePackDescription> {
    return this.json(`${galleryPath(gallery)}/offline-pack`, {}, signal);
  }

  /** The bytes of a pack's file from `start` up to `end`, `end` left out; only of the version that `etag` names. */
  async offlinePackBytes(
    gallery: string,
    etag: string,
    start: number,
    end: number,
    signal?: AbortSignal,
  ): Promise<Response> {
    const headers = new Headers({ Range: `bytes=${start}-${end - 1}`, "If-Match": etag });
    const init: RequestInit = { cache: "no-store", headers };
    if (signal) init.signal = signal;
    return this.send(`${galleryPath(gallery)}/offline-pack/file`, {}, init);
  }

  private async timedSearch(
    path: string,
    body: Uint8Array<ArrayBuffer> | Blob,
    headers: Headers,
    options: SearchOptions,
  ): Promise<TimedAnswer> {
    const began = performance.now();
    const init: RequestInit = { method: "POST", body, headers };
    if (options.signal) init.signal = options.signal;
    const answer = (await (await this.send(path, searchParameters(options), init)).json()) as SearchAnswer;
    const bytesSent = body instanceof Blob ? body.size : body.byteLength;
    return { ...answer, milliseconds: performance.now() - began, bytesSent };
  }

  private async json<Answer>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<Answer> {
    return (await (await this.send(path, parameters, signal ? { signal } : {})).json()) as Answer;
  }

  private async send(path: string, parameters: Parameters, init: RequestInit): Promise<Response> {
    return this.transport.send(path, parameters, init);
  }
}

const galleryPath = (gallery: string): string => `v1/galleries/${encodeURIComponent(gallery)}`;

const itemPath = (gallery: string, id: string): string => `${galleryPath(gallery)}/items/${encodeSegment(id)}`;

/** An id as one segment of a path. `.` and `..` would be taken for folders, even when they are encoded. */
const encodeSegment = (id: string): string => encodeURIComponent(id);

function searchParameters({ limit, maxFalseMatch, scoreThreshold }: SearchOptions): Parameters {
  return { limit, max_false_match: maxFalseMatch, score_threshold: scoreThreshold };
}
