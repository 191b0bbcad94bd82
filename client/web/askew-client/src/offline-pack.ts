/** An offline pack that is open on this device: a handle to the worker that searches it. */

import { DeviceError } from "./failures.js";
import { type PackHeader, type SectionName, damaged, readLabels, readOffsets, sectionOf } from "./pack-file.js";
import type { PackRequest } from "./pack-messages.js";
import type { PackHit, PackItem, PackSearchOptions } from "./pack-search.js";
import { sha256 } from "./sha256.js";
import { WorkerCalls } from "./worker-calls.js";

/** Hits, with the milliseconds that the search took on this device. */
export interface PackAnswer {
  readonly hits: readonly PackHit[];
  readonly milliseconds: number;
}

/** Reads a section's content. */
export type ReadSection = (name: SectionName) => Promise<Blob>;

export class OfflinePack {
  private constructor(
    readonly header: PackHeader,
    private readonly calls: WorkerCalls<PackRequest>,
    private readonly thumbnails: { readonly file: Blob; readonly offsets: Float64Array } | undefined,
  ) {}

  /**
   * Verify the sections of a pack and hand them to a worker. Thumbnails are neither read nor verified: they stay on the disk.
   *
   * Throws DeviceError: damaged-pack, out-of-memory, no-engine.
   */
  static async open(header: PackHeader, read: ReadSection): Promise<OfflinePack> {
    const verified = (name: SectionName) => readVerified(header, name, read);
    readLabels(header, await verified("labels"));
    const [codec, codes, scales] = [await verified("codec"), await verified("codes"), await verified("scales")];
    const [rowLengths, rows] = [await verified("row_lengths"), await verified("rows")];
    const thumbnails = header.thumbnail_size > 0 ? await openThumbnails(header, read) : undefined;
    const worker = new Worker(new URL("./pack.worker.js", import.meta.url), { type: "module" });
    const calls = new WorkerCalls<PackRequest>(worker, "The search on this device");
    try {
      const sections = { codec, codes, scales, rowLengths, rows };
      const transfer = Object.values(sections).map(({ buffer }) => buffer);
      await calls.ask({ kind: "open", header, ...sections }, transfer);
      return new OfflinePack(header, calls, thumbnails);
    } catch (error) {
      calls.close();
      throw error;
    }
  }

  /**
   * Search with a vector that was described on this device: float32 [dim], unit length. `space`: the vector's.
   *
   * Throws DeviceError: foreign-pack if the pack was made in another space; stopped.
   */
  async search(query: Float32Array, space: string, options: PackSearchOptions): Promise<PackAnswer> {
    if (space !== this.header.space) {
      throw new DeviceError(
        "foreign-pack",
        `The gallery on this device was described in space ${this.header.space}, the photo in ${space}: they cannot be ` +
          "compared. Fetch the gallery again when there is a network.",
      );
    }
    return (await this.calls.ask({ kind: "search", query, options })) as PackAnswer;
  }

  /** The items nearest to an item, which is left out; undefined if the pack does not hold it. Throws DeviceError. */
  async similar(itemId: string, limit: number): Promise<readonly PackHit[] | undefined> {
    return (await this.calls.ask({ kind: "similar", itemId, limit })) as readonly PackHit[] | undefined;
  }

  /** The items from a place on, in the order of the pack. Throws DeviceError. */
  async items(from: number, count: number): Promise<readonly PackItem[]> {
    return (await this.calls.ask({ kind: "items", from, count })) as readonly PackItem[];
  }

  /** Whether an item has a thumbnail. `index`: its place in the pack. */
  hasThumbnail(index: number): boolean {
    const offsets = this.thumbnails?.offsets;
    return offsets !== undefined && offsets[index + 1]! > offsets[index]!;
  }

  /** The thumbnail of an item, a WebP file. */
  thumbnail(index: number): Blob | undefined {
    if (!this.thumbnails || !this.hasThumbnail(index)) return undefined;
    const { file, offsets } = this.thumbnails;
    return file.slice(offsets[index], offsets[index + 1], "image/webp");
  }

  /** End the worker and free its memory. */
  close(): void {
    this.calls.close();
  }
}

async function openThumbnails(header: PackHeader, read: ReadSection): Promise<{ file: Blob; offsets: Float64Array }> {
  const file = await read("thumbnails");
  if (file.size !== sectionOf(header, "thumbnails")!.size) throw damaged("its thumbnails are incomplete");
  const lengths = await readVerified(header, "thumbnail_lengths", read);
  return { file, offsets: readOffsets(lengths, file.size, "thumbnails") };
}

async function readVerified(header: PackHeader, name: SectionName, read: ReadSection): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(await (await read(name)).arrayBuffer());
  const expected = sectionOf(header, name)!.sha256;
  const computed = await sha256(bytes);
  if (computed === expected) return bytes;
  throw damaged(`its section "${name}" has SHA-256 ${computed.slice(0, 12)}…, its header states ${expected.slice(0, 12)}…`);
}
