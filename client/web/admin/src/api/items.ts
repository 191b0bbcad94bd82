/** Calls about the items of a gallery. */

import { ITEM } from "../strings.js";
import { galleryPath, type Progress, segment, type Server } from "./server.js";
import type { ItemPage, Job, Payload, SearchAnswer, StoredItem } from "./types.js";

export class ItemCalls {
  constructor(private readonly server: Server) {}

  list(
    gallery: string,
    { cursor, filter, limit }: { cursor?: string | undefined; filter?: string | undefined; limit: number },
    signal?: AbortSignal,
  ): Promise<ItemPage> {
    return this.server.get(`${galleryPath(gallery)}/items`, { limit, cursor, filter }, signal);
  }

  get(gallery: string, id: string, signal?: AbortSignal): Promise<StoredItem> {
    return this.server.get(itemPath(gallery, id), {}, signal);
  }

  similar(gallery: string, id: string, limit: number, signal?: AbortSignal): Promise<SearchAnswer> {
    return this.server.get(`${itemPath(gallery, id)}/similar`, { limit }, signal);
  }

  photoAddress(gallery: string, id: string): URL {
    return this.server.transport.address(`${itemPath(gallery, id)}/photo`);
  }

  async photo(gallery: string, id: string, signal?: AbortSignal): Promise<Blob> {
    const init: RequestInit = signal ? { signal } : {};
    return (await this.server.transport.send(`${itemPath(gallery, id)}/photo`, {}, init)).blob();
  }

  async delete(gallery: string, ids: readonly string[]): Promise<number> {
    const path = `${galleryPath(gallery)}/items/delete`;
    return (await this.server.call<{ deleted: number }>("POST", path, { json: { ids } })).deleted;
  }

  /** `filter`: JSON text, sent as it is. Read and written again, a long number would be another, and match other items. */
  async deleteWhere(gallery: string, filter: string): Promise<number> {
    const path = `${galleryPath(gallery)}/items/delete`;
    const body = { body: `{"filter": ${filter}}`, type: "application/json" };
    return (await this.server.call<{ deleted: number }>("POST", path, body)).deleted;
  }

  /** Store an item with another payload; its vector and its photo stay as they are. */
  async changePayload(gallery: string, id: string, space: string, payload: Payload): Promise<void> {
    const stored = await this.server.get<StoredItem>(itemPath(gallery, id), { with_vectors: true });
    const dtype = stored.dtype ?? "f16le";
    if (!stored.has_photo) {
      const json = { space, items: [{ id, vector: stored.vector, dtype, payload }] };
      await this.server.call("PUT", `${galleryPath(gallery)}/items`, { json });
      return;
    }
    const form = new FormData();
    form.set("photo", await this.photo(gallery, id), "photo");
    form.set("payload", JSON.stringify(payload));
    form.set("vector", stored.vector ?? "");
    form.set("dtype", dtype);
    form.set("space", space);
    await this.server.call("PUT", itemPath(gallery, id), { body: form });
  }

  /** Send photos; their file names become the ids of their items. Answered with a job that describes them. */
  sendPhotos(
    gallery: string,
    photos: readonly File[],
    payload: Payload | undefined,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Job> {
    const form = new FormData();
    if (payload) form.set("payloads", JSON.stringify(Object.fromEntries(photos.map(({ name }) => [name, payload]))));
    for (const photo of photos) form.append("photo", photo, photo.name);
    return this.server.upload("POST", `${galleryPath(gallery)}/items/photos`, form, progress, { signal });
  }
}

function itemPath(gallery: string, id: string): string {
  // Browsers resolve these, however they are written, so the call would be about the gallery.
  if (id === "." || id === "..") throw new Error(ITEM.unreachableId(id));
  return `${galleryPath(gallery)}/items/${segment(id)}`;
}
