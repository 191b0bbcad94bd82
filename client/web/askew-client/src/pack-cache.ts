/**
 * Where packs lie on this device: one cache for each server, in which each section of a pack is an entry of its own, and
 * each part of a file that is being fetched, too. The entry `current` names the version in use: putting it switches.
 */

import { DeviceError } from "./failures.js";
import { type SectionName, readPackHeader } from "./pack-file.js";
import type { KeptPack } from "./pack-store.js";

const FIRST = "askew-packs-1:";

export class PackCache {
  private readonly name: string;

  /** `server`: its address. `caches`: undefined where the browser offers none. */
  constructor(
    server: string,
    private readonly caches: CacheStorage | undefined,
  ) {
    this.name = FIRST + new URL(server).pathname;
  }

  get isUsable(): boolean {
    return this.caches !== undefined;
  }

  async readKept(gallery: string): Promise<KeptPack | undefined> {
    try {
      const text = await (await this.read(`${folder(gallery)}current`))?.text();
      if (text === undefined) return undefined;
      const { sha256, size } = JSON.parse(text) as { readonly sha256: string; readonly size: number };
      const start = await (await this.read(`${folder(gallery)}${sha256}/start`))?.arrayBuffer();
      return start && { header: readPackHeader(new Uint8Array(start)), sha256, size };
    } catch {
      // Damaged, or kept by another version of the app: it is fetched again.
      return undefined;
    }
  }

  async readSection(gallery: string, sha256: string, name: SectionName): Promise<Blob | undefined> {
    return (await this.read(`${folder(gallery)}${sha256}/${name}`))?.blob();
  }

  async readPart(gallery: string, sha256: string, part: number): Promise<Blob | undefined> {
    return (await this.read(`${folder(gallery)}${sha256}/part/${part}`))?.blob();
  }

  async sizeOfParts(gallery: string, sha256: string): Promise<number> {
    let size = 0;
    for (const address of await this.addresses(`${folder(gallery)}${sha256}/part/`)) {
      size += Number((await this.read(address))?.headers.get("Content-Length") ?? 0);
    }
    return size;
  }

  /** Throws DeviceError (storage-full). */
  async keepSection(gallery: string, sha256: string, name: SectionName, content: Blob): Promise<void> {
    await this.put(`${folder(gallery)}${sha256}/${name}`, content);
  }

  /** Throws DeviceError (storage-full). */
  async keepPart(gallery: string, sha256: string, part: number, content: Blob): Promise<void> {
    await this.put(`${folder(gallery)}${sha256}/part/${part}`, content);
  }

  async deletePart(gallery: string, sha256: string, part: number): Promise<void> {
    await (await this.open())?.delete(`${folder(gallery)}${sha256}/part/${part}`);
  }

  /**
   * Switch to a version whose sections are kept, and remove all others. `start`: the first bytes of the file, with its header.
   *
   * Throws DeviceError (storage-full).
   */
  async keep(gallery: string, sha256: string, size: number, start: Blob): Promise<void> {
    const own = `${folder(gallery)}${sha256}/`;
    await this.put(`${own}start`, start);
    await this.put(`${folder(gallery)}current`, new Blob([JSON.stringify({ sha256, size })]));
    await this.deleteWhere((address) => !address.startsWith(own) || address.startsWith(`${own}part/`), gallery, "current");
  }

  /** Remove what is there of versions other than these. */
  async keepOnly(gallery: string, versions: readonly string[]): Promise<void> {
    const own = versions.map((sha256) => `${folder(gallery)}${sha256}/`);
    await this.deleteWhere((address) => !own.some((start) => address.startsWith(start)), gallery, "current");
  }

  async deleteGallery(gallery: string): Promise<void> {
    // First what names the sections: a deletion that breaks off leaves no pack with holes.
    await (await this.open())?.delete(`${folder(gallery)}current`);
    await this.deleteWhere(() => true, gallery);
  }

  async deleteAll(): Promise<void> {
    await this.caches?.delete(this.name);
  }

  private async deleteWhere(isOld: (address: string) => boolean, gallery: string, except = ""): Promise<void> {
    const cache = await this.open();
    for (const address of await this.addresses(folder(gallery))) {
      if (address !== folder(gallery) + except && isOld(address)) await cache?.delete(address);
    }
  }

  private async addresses(start: string): Promise<string[]> {
    const requests = (await (await this.open())?.keys()) ?? [];
    return requests.map(({ url }) => new URL(url).pathname).filter((address) => address.startsWith(start));
  }

  private async read(address: string): Promise<Response | undefined> {
    return (await this.open())?.match(address);
  }

  private async put(address: string, content: Blob): Promise<void> {
    const cache = await this.open();
    if (!cache) throw new DeviceError("storage-full", "This browser keeps nothing on this device, for example in private mode.");
    const headers = { "Content-Length": String(content.size) };
    try {
      await cache.put(address, new Response(content, { headers }));
    } catch (error) {
      throw await explainFull(error, content.size);
    }
  }

  private async open(): Promise<Cache | undefined> {
    try {
      return await this.caches?.open(this.name);
    } catch {
      // A browser may refuse its storage, for example in private mode.
      return undefined;
    }
  }
}

/** No address of the server: entries are found by their paths alone. */
const folder = (gallery: string): string => `/askew-packs/${encodeURIComponent(gallery)}/`;

async function explainFull(error: unknown, size: number): Promise<DeviceError> {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
  if (!isFull) return new DeviceError("storage-full", `This browser refuses to keep the gallery: ${String(error)}.`);
  const { quota = 0, usage = 0 }: StorageEstimate = (await navigator.storage?.estimate().catch(() => undefined)) ?? {};
  return new DeviceError(
    "storage-full",
    `This browser has no room for ${megabytes(size)} more: it uses ${megabytes(usage)} of the ${megabytes(quota)} that it ` +
      "may use. Free some space on this device and try again.",
  );
}
