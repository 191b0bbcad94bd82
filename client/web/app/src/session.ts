/** One visit with one key: the galleries, the chosen one, and its encoder. */

import { AskewClient, type Contact, type GalleryDescription, type GalleryList, isUnreachable } from "@askew/client";

import { EncoderLoader, type LoadingStage, type OpenEncoder } from "./encoder-loader.js";
import { RememberedServer } from "./remembered-server.js";
import type { DeviceStorage } from "./storage.js";

const CHOSEN = "gallery";

/** The server has no gallery. */
export class NoGalleryError extends Error {
  override readonly name = "NoGalleryError";
}

export class Session {
  readonly client: AskewClient;
  galleries: readonly GalleryDescription[] = [];
  private readonly loader: EncoderLoader;
  private readonly remembered: RememberedServer;
  private chosen: GalleryDescription | undefined;
  private loading: Promise<OpenEncoder> | undefined;

  /**
   * `server`: its address. `onStage`: called while an encoder is loaded. `onContact`: called after each request with whether
   * the server answered.
   */
  constructor(
    readonly server: URL,
    readonly key: string | undefined,
    private readonly storage: DeviceStorage,
    onStage: (stage: LoadingStage) => void,
    onContact: Contact,
  ) {
    this.client = new AskewClient(server, key, onContact);
    this.remembered = new RememberedServer(storage);
    this.loader = new EncoderLoader(this.client, storage, this.remembered, onStage);
  }

  /**
   * List the galleries, and choose the one of the last visit or the default. If the server does not answer, they are those of
   * the last visit. Throws ProblemError, NoGalleryError.
   */
  async start(): Promise<GalleryDescription> {
    const { default_gallery: usual, galleries } = await this.list();
    this.galleries = galleries;
    const last = this.storage.read(CHOSEN);
    const named = (name: string | undefined) => galleries.find((gallery) => gallery.name === name);
    const gallery = named(last) ?? named(usual) ?? galleries[0];
    if (!gallery) throw new NoGalleryError();
    this.chosen = gallery;
    return gallery;
  }

  /** Read anew what the server says of its galleries. Throws ProblemError. */
  async refresh(): Promise<void> {
    const list = await this.client.galleries();
    this.remembered.keepGalleries(list);
    if (!this.chosen) return;
    this.galleries = list.galleries;
    this.chosen = list.galleries.find(({ name }) => name === this.chosen?.name) ?? this.chosen;
  }

  get gallery(): GalleryDescription {
    if (!this.chosen) throw new NoGalleryError();
    return this.chosen;
  }

  /** Choose another gallery; the choice is remembered on this device. */
  choose(name: string): GalleryDescription {
    this.chosen = this.galleries.find((gallery) => gallery.name === name) ?? this.gallery;
    this.storage.keep(CHOSEN, this.chosen.name);
    this.loading = undefined;
    return this.chosen;
  }

  /**
   * The encoder of the chosen gallery; it is loaded on the first call, and again after a failure.
   *
   * Throws ProblemError, DeviceError, AbortError.
   */
  encoder(): Promise<OpenEncoder> {
    if (!this.loading) {
      const loading = this.loader.load(this.gallery.name);
      this.loading = loading;
      loading.catch(() => {
        if (this.loading === loading) this.loading = undefined;
      });
    }
    return this.loading;
  }

  /** The encoder that is open now. */
  get current(): OpenEncoder | undefined {
    return this.loader.current;
  }

  /** Ask the server again which encoder is the best: the gallery does not accept the open one any more. */
  async renewEncoder(): Promise<OpenEncoder> {
    const gallery = await this.client.gallery(this.gallery.name);
    if (gallery.name === this.gallery.name) this.chosen = gallery;
    this.loading = undefined;
    return this.encoder();
  }

  close(): void {
    this.loader.close();
  }

  private async list(): Promise<GalleryList> {
    try {
      const list = await this.client.galleries();
      this.remembered.keepGalleries(list);
      return list;
    } catch (error) {
      const { galleries } = this.remembered;
      if (galleries && isUnreachable(error)) return galleries;
      throw error;
    }
  }
}
