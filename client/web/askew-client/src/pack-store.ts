/** Keeps offline packs on this device, in the Cache API: fetches, verifies, updates and deletes them. */

import type { AskewClient } from "./client.js";
import { DeviceError } from "./failures.js";
import { OfflinePack } from "./offline-pack.js";
import { PackCache } from "./pack-cache.js";
import { mergePack } from "./pack-difference.js";
import { PackDownload } from "./pack-download.js";
import { type PackHeader, damaged } from "./pack-file.js";
import { ProblemError } from "./problems.js";
import type { OfflinePackDescription } from "./wire-types.js";

/** Called while a pack is fetched, with the bytes so far and in all. */
export type PackProgress = (done: number, total: number) => void;

/** A pack that lies on this device. `sha256`, `size`: of its file; the size in bytes. */
export interface KeptPack {
  readonly header: PackHeader;
  readonly sha256: string;
  readonly size: number;
}

const PART_BYTES = 4 * 1024 * 1024;

// The file may change between its description and its last part, but not again and again.
const MOST_TRIES = 3;

export class PackStore {
  private readonly cache: PackCache;

  /** `caches`: undefined in an insecure context; then no pack can be kept. `partBytes`: how much is fetched at once. */
  constructor(
    private readonly client: AskewClient,
    caches: CacheStorage | undefined = globalThis.caches,
    private readonly partBytes = PART_BYTES,
  ) {
    this.cache = new PackCache(client.address, caches);
  }

  /** Whether this browser can keep packs. */
  get isUsable(): boolean {
    return this.cache.isUsable;
  }

  /** The pack of a gallery that lies on this device. */
  async kept(gallery: string): Promise<KeptPack | undefined> {
    return this.cache.readKept(gallery);
  }

  /** How many bytes of a pack's version an unfinished download has left on this device. */
  async fetchedBytes({ gallery, sha256 }: OfflinePackDescription): Promise<number> {
    return this.cache.sizeOfParts(gallery, sha256);
  }

  /** Open a kept pack. Throws DeviceError (damaged-pack, out-of-memory): then it is to be fetched again. */
  async open({ header, sha256 }: KeptPack): Promise<OfflinePack> {
    return OfflinePack.open(header, async (name) => {
      const section = await this.cache.readSection(header.gallery, sha256, name);
      if (!section) throw damaged(`its section "${name}" is missing`);
      return section;
    });
  }

  /**
   * Bring the pack that is described to this device. Of an earlier version, only what is new is fetched where that is
   * possible; a download that broke off continues. The earlier version stays until the new one is whole and verified.
   *
   * Throws ProblemError; DeviceError (not-a-pack, damaged-pack, storage-full); AbortError.
   */
  async fetch(
    described: OfflinePackDescription,
    progress: PackProgress = () => {},
    signal?: AbortSignal,
  ): Promise<KeptPack> {
    let description = described;
    for (let tries = 1; ; tries++) {
      try {
        return await this.fetchVersion(description, progress, signal);
      } catch (error) {
        const hasChanged = error instanceof ProblemError && error.status === 412;
        if (!hasChanged || tries === MOST_TRIES) throw error;
        description = await this.client.offlinePack(description.gallery, signal);
      }
    }
  }

  /** Remove the pack of a gallery, and what is there of an unfinished download. */
  async delete(gallery: string): Promise<void> {
    await this.cache.deleteGallery(gallery);
  }

  /** Remove the packs of all galleries of this server. */
  async deleteAll(): Promise<void> {
    await this.cache.deleteAll();
  }

  private async fetchVersion(
    description: OfflinePackDescription,
    progress: PackProgress,
    signal: AbortSignal | undefined,
  ): Promise<KeptPack> {
    const { gallery, sha256, size } = description;
    const old = await this.kept(gallery);
    if (old?.sha256 === sha256) return old;
    await this.cache.keepOnly(gallery, old ? [old.sha256, sha256] : [sha256]);
    const download = new PackDownload(this.client, this.cache, description, progress, this.partBytes, signal);
    const merged = old && (await this.merge(old, download));
    const { header, sections, start } = merged ?? (await download.whole());
    if (header.gallery !== gallery || header.space !== description.space) {
      throw damaged(`it holds gallery ${header.gallery} in ${header.space}, expected ${gallery} in ${description.space}`);
    }
    for (const [name, section] of sections) await this.cache.keepSection(gallery, sha256, name, section);
    await this.cache.keep(gallery, sha256, size, start);
    return { header, sha256, size };
  }

  private async merge(old: KeptPack, download: PackDownload): ReturnType<typeof mergePack> {
    const read = (name: Parameters<PackCache["readSection"]>[2]) =>
      this.cache.readSection(old.header.gallery, old.sha256, name);
    try {
      return await mergePack(old.header, read, download);
    } catch (error) {
      // What lies here may be damaged: the whole file replaces it.
      if (error instanceof DeviceError && error.kind === "damaged-pack") return undefined;
      throw error;
    }
  }
}
