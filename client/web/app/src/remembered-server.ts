/** What the server said last, so that the app can start without it: its galleries, and the encoder of each. */

import type { EncoderDescription, GalleryList } from "@askew/client";

import type { DeviceStorage } from "./storage.js";

const GALLERIES = "galleries";
const ENCODER = "encoder:";

export class RememberedServer {
  constructor(private readonly storage: DeviceStorage) {}

  get galleries(): GalleryList | undefined {
    return this.read<GalleryList>(GALLERIES);
  }

  keepGalleries(list: GalleryList): void {
    const names = new Set(list.galleries.map(({ name }) => name));
    for (const { name } of this.galleries?.galleries ?? []) if (!names.has(name)) this.storage.forget(ENCODER + name);
    this.storage.keep(GALLERIES, JSON.stringify(list));
  }

  encoder(gallery: string): EncoderDescription | undefined {
    return this.read<EncoderDescription>(ENCODER + gallery);
  }

  keepEncoder(gallery: string, description: EncoderDescription): void {
    this.storage.keep(ENCODER + gallery, JSON.stringify(description));
  }

  /** Forget everything: what a key showed goes with the key. */
  forget(): void {
    for (const { name } of this.galleries?.galleries ?? []) this.storage.forget(ENCODER + name);
    this.storage.forget(GALLERIES);
  }

  private read<Kept>(name: string): Kept | undefined {
    try {
      return JSON.parse(this.storage.read(name) ?? "") as Kept;
    } catch {
      return undefined;
    }
  }
}
