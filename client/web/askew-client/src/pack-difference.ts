/**
 * Makes a newer version of a pack out of an older one: items lie in the order of their labels, which only grow, so that what
 * is new is the end of each section, and of the older version some items are left out.
 */

import { type PackContent, type PackDownload } from "./pack-download.js";
import { type PackHeader, type SectionName, codeBytes, damaged, readLabels, readOffsets, sectionOf } from "./pack-file.js";
import { sha256OfBlob } from "./sha256.js";

/** Reads a section of the older version; undefined if it is missing. */
type ReadOld = (name: SectionName) => Promise<Blob | undefined>;

/**
 * The newer version, of which only the header, the labels and the new items are fetched; undefined if it has another codec
 * or other fields, or items that the older version lacks, so that the whole file is needed.
 *
 * Throws ProblemError, DeviceError (damaged-pack if the result does not have the SHA-256 that the header states).
 */
export async function mergePack(old: PackHeader, readOld: ReadOld, download: PackDownload): Promise<PackContent | undefined> {
  const { header, start } = await download.header();
  if (!isAlike(old, header)) return undefined;
  const merge = new Merge(old, header, readOld, download);
  return (await merge.findSurvivors()) ? { header, start, sections: await merge.sections() } : undefined;
}

function isAlike(old: PackHeader, header: PackHeader): boolean {
  return (
    old.codec.id === header.codec.id &&
    old.codec.kind === header.codec.kind &&
    old.codec.bytes === header.codec.bytes &&
    old.space === header.space &&
    old.dim === header.dim &&
    old.thumbnail_size === header.thumbnail_size &&
    old.sequence <= header.sequence &&
    JSON.stringify(old.fields) === JSON.stringify(header.fields)
  );
}

class Merge {
  private labels: Blob | undefined;
  /** The places in the older version of the items that are still there, rising. */
  private survivors: number[] = [];
  private added = 0;

  constructor(
    private readonly old: PackHeader,
    private readonly header: PackHeader,
    private readonly readOld: ReadOld,
    private readonly download: PackDownload,
  ) {}

  /** Compare the labels of both versions. False if an item that should be in the older version is missing there. */
  async findSurvivors(): Promise<boolean> {
    const { offset, size } = sectionOf(this.header, "labels")!;
    this.labels = await this.download.range(offset, offset + size);
    const labels = readLabels(this.header, await bytesOf(this.labels));
    const oldLabels = readLabels(this.old, await bytesOf(await this.readWhole("labels")));
    let place = 0;
    for (const [item, label] of labels.entries()) {
      if (label > this.old.sequence) {
        this.added = labels.length - item;
        return true;
      }
      while (place < oldLabels.length && oldLabels[place]! < label) place++;
      if (oldLabels[place] !== label) return false;
      this.survivors.push(place++);
    }
    return true;
  }

  /** The sections of the newer version. */
  async sections(): Promise<ReadonlyMap<SectionName, Blob>> {
    const sections = new Map<SectionName, Blob>();
    const keep = async (name: SectionName, content: Promise<Blob>) => sections.set(name, await content);
    await keep("codec", this.readWhole("codec"));
    await keep("labels", Promise.resolve(this.labels!));
    await keep("codes", this.equalParts("codes", codeBytes(this.header)));
    await keep("scales", this.equalParts("scales", 4));
    await keep("row_lengths", this.equalParts("row_lengths", 4));
    await keep("rows", this.unequalParts("rows", sections.get("row_lengths")!, "row_lengths"));
    if (this.header.thumbnail_size > 0) {
      await keep("thumbnail_lengths", this.equalParts("thumbnail_lengths", 4));
      await keep("thumbnails", this.unequalParts("thumbnails", sections.get("thumbnail_lengths")!, "thumbnail_lengths"));
    }
    for (const { name, sha256 } of this.header.sections) {
      const content = sections.get(name);
      if (!content || (await sha256OfBlob(content)) !== sha256) throw damaged(`its section "${name}" does not fit the newer version`);
    }
    return sections;
  }

  /** A section in which each item has `size` bytes. */
  private async equalParts(name: SectionName, size: number): Promise<Blob> {
    const whole = await this.readWhole(name);
    const parts = this.runs().map(([from, to]) => whole.slice(from * size, to * size));
    return new Blob([...parts, await this.fetchEnd(name, this.added * size)]);
  }

  /** A section in which each item has as many bytes as another section says. `lengths`: of the newer version. */
  private async unequalParts(name: SectionName, lengths: Blob, lengthsName: SectionName): Promise<Blob> {
    const whole = await this.readWhole(name);
    const oldOffsets = readOffsets(await bytesOf(await this.readWhole(lengthsName)), whole.size, name);
    const parts = this.runs().map(([from, to]) => whole.slice(oldOffsets[from], oldOffsets[to]));
    const offsets = readOffsets(await bytesOf(lengths), sectionOf(this.header, name)!.size, name);
    const end = offsets.at(-1)! - offsets[this.survivors.length]!;
    return new Blob([...parts, await this.fetchEnd(name, end)]);
  }

  /** The survivors as runs of neighbours: [first, one past the last]. */
  private runs(): [from: number, to: number][] {
    const runs: [number, number][] = [];
    for (const place of this.survivors) {
      const last = runs.at(-1);
      if (last?.[1] === place) last[1] = place + 1;
      else runs.push([place, place + 1]);
    }
    return runs;
  }

  private async fetchEnd(name: SectionName, size: number): Promise<Blob> {
    const { offset, size: whole } = sectionOf(this.header, name)!;
    return this.download.range(offset + whole - size, offset + whole);
  }

  private async readWhole(name: SectionName): Promise<Blob> {
    const content = await this.readOld(name);
    if (content?.size === sectionOf(this.old, name)?.size) return content!;
    throw damaged(`its section "${name}" is missing on this device`);
  }
}

const bytesOf = async (blob: Blob): Promise<Uint8Array<ArrayBuffer>> => new Uint8Array(await blob.arrayBuffer());
