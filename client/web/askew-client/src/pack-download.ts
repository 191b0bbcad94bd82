/** Fetches the file of a pack, whole or in parts. */

import type { AskewClient } from "./client.js";
import { DeviceError } from "./failures.js";
import type { PackCache } from "./pack-cache.js";
import { type PackHeader, type Section, type SectionName, START_BYTES, damaged, readPackHeader } from "./pack-file.js";
import type { PackProgress } from "./pack-store.js";
import { ProblemError } from "./problems.js";
import { sha256OfBlob } from "./sha256.js";
import type { OfflinePackDescription } from "./wire-types.js";

/** A file's content, verified. `start`: its first bytes, with the header. */
export interface PackContent {
  readonly header: PackHeader;
  readonly start: Blob;
  readonly sections: ReadonlyMap<SectionName, Blob>;
}

/** `partBytes`: what is fetched at once, and kept as soon as it is here. */
export class PackDownload {
  private done = 0;
  /** The whole file, if the server, or a proxy before it, sends it instead of a range. */
  private file: Blob | undefined;

  constructor(
    private readonly client: AskewClient,
    private readonly cache: PackCache,
    private readonly description: OfflinePackDescription,
    private readonly progress: PackProgress,
    private readonly partBytes: number,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** The header, with the file's first bytes. Throws ProblemError, DeviceError (not-a-pack, damaged-pack). */
  async header(): Promise<{ header: PackHeader; start: Blob }> {
    const start = await this.range(0, Math.min(START_BYTES, this.description.size));
    return { header: this.readHeader(new Uint8Array(await start.arrayBuffer())), start };
  }

  /** Some bytes of the file: from `start` up to `end`, `end` left out. Throws ProblemError, DeviceError. */
  async range(start: number, end: number): Promise<Blob> {
    const fetched: Blob[] = [];
    for (let from = start; from < end; from += this.partBytes) {
      fetched.push(await this.fetch(from, Math.min(from + this.partBytes, end)));
    }
    return new Blob(fetched);
  }

  /**
   * The whole file. Parts that an earlier download left are not fetched again, unless they prove damaged.
   *
   * Throws ProblemError, DeviceError (not-a-pack, damaged-pack, storage-full).
   */
  async whole(): Promise<PackContent> {
    const { gallery, sha256, size } = this.description;
    this.done = 0;
    const { header, start } = await this.firstPart();
    const parts = Array.from({ length: Math.ceil(size / this.partBytes) }, (_, part) => part);
    for (const part of parts.slice(1)) await this.bring(part);
    const suspects = await this.findDamaged(header);
    for (const part of suspects) {
      this.done -= this.partSize(part);
      await this.cache.deletePart(gallery, sha256, part);
      await this.bring(part);
    }
    const [stillDamaged] = suspects.length > 0 ? await this.findDamaged(header) : [];
    if (stillDamaged !== undefined) {
      for (const part of parts) await this.cache.deletePart(gallery, sha256, part);
      throw damaged("a section does not have the SHA-256 that its header states");
    }
    const file = await this.keptFile();
    return { header, start, sections: new Map(header.sections.map((section) => [section.name, cut(file, section)])) };
  }

  private async firstPart(): Promise<{ header: PackHeader; start: Blob }> {
    const { gallery, sha256 } = this.description;
    for (let isSecond = false; ; isSecond = true) {
      const part = await this.bring(0);
      const start = part.slice(0, START_BYTES);
      try {
        return { header: this.readHeader(new Uint8Array(await start.arrayBuffer())), start };
      } catch (error) {
        this.done -= part.size;
        await this.cache.deletePart(gallery, sha256, 0);
        if (isSecond || (error as DeviceError).kind === "not-a-pack") throw error;
      }
    }
  }

  private readHeader(start: Uint8Array): PackHeader {
    const header = readPackHeader(start);
    const last = header.sections.at(-1)!;
    const { size } = this.description;
    if (last.offset + last.size === size) return header;
    throw damaged(`its sections end at byte ${last.offset + last.size}, the file at ${size}`);
  }

  /** A part of the file, from this device or from the server; then it is kept. */
  private async bring(part: number): Promise<Blob> {
    const { gallery, sha256, size } = this.description;
    const start = part * this.partBytes;
    const kept = await this.cache.readPart(gallery, sha256, part);
    if (kept?.size === this.partSize(part)) {
      this.note(kept.size);
      return kept;
    }
    const fetched = await this.fetch(start, Math.min(start + this.partBytes, size));
    await this.cache.keepPart(gallery, sha256, part, fetched);
    return fetched;
  }

  private partSize(part: number): number {
    return Math.min(this.partBytes, this.description.size - part * this.partBytes);
  }

  /** The parts in which sections lie that do not have their SHA-256. */
  private async findDamaged({ sections }: PackHeader): Promise<number[]> {
    const file = await this.keptFile();
    const found = new Set<number>();
    for (const section of sections) {
      if ((await sha256OfBlob(cut(file, section))) === section.sha256) continue;
      const last = Math.max(section.offset, section.offset + section.size - 1);
      for (let part = Math.floor(section.offset / this.partBytes); part * this.partBytes <= last; part++) found.add(part);
    }
    return [...found];
  }

  /** The file out of its kept parts: it lies on the disk, not in memory. */
  private async keptFile(): Promise<Blob> {
    const { gallery, sha256, size } = this.description;
    const parts: Blob[] = [];
    for (let part = 0; part * this.partBytes < size; part++) {
      const kept = await this.cache.readPart(gallery, sha256, part);
      if (!kept) throw new DeviceError("storage-full", "The browser has dropped what was fetched. Free some space and try again.");
      parts.push(kept);
    }
    return new Blob(parts);
  }

  private async fetch(start: number, end: number): Promise<Blob> {
    if (this.file) return this.file.slice(start, end);
    const { etag, gallery, size } = this.description;
    const response = await this.client.offlinePackBytes(gallery, etag, start, end, this.signal);
    const body = await response.blob().catch(explainBroken);
    if (response.status === 200 && body.size === size) {
      this.file = body;
      return this.fetch(start, end);
    }
    if (body.size !== end - start) throw damaged(`expected ${end - start} bytes from ${start} on, got ${body.size}`);
    this.note(body.size);
    return body;
  }

  private note(bytes: number): void {
    this.done += bytes;
    this.progress(Math.min(this.done, this.description.size), this.description.size);
  }
}

const cut = (file: Blob, { offset, size }: Section): Blob => file.slice(offset, offset + size);

/** Browsers report a connection that breaks while a body is read as a TypeError. */
function explainBroken(error: unknown): never {
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  throw new ProblemError("unreachable", 0, "No connection", "The connection broke while the gallery was fetched. It continues later.");
}
