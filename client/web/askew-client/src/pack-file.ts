/** The file of an offline pack: its header and the sections that it names (docs/offline.md). */

import { DeviceError } from "./failures.js";
import type { PackRecall } from "./wire-types.js";

const MAGIC = "ASKEWPK";
const FORMAT = 1;
/** The magic bytes and the length of the header. */
export const PREAMBLE_BYTES = 12;
/** The header with what stands before it fits in this many bytes. */
export const START_BYTES = 65_536;
const MOST_ITEMS = 10_000_000;

/** "product": product quantisation, `bytes` bytes an item. "int8": one signed byte for each dimension. */
export interface PackCodec {
  readonly kind: "product" | "int8";
  readonly bytes: number;
  readonly id: string;
}

const SECTIONS = ["codec", "labels", "codes", "scales", "row_lengths", "rows", "thumbnail_lengths", "thumbnails"] as const;

export type SectionName = (typeof SECTIONS)[number];

/** `offset`: from the start of the file, in bytes. */
export interface Section {
  readonly name: SectionName;
  readonly offset: number;
  readonly size: number;
  readonly sha256: string;
}

/**
 * `sequence`: the number of the gallery's last change that the pack covers. `fields`: the payload's members that it holds.
 * `thumbnail_size`: the longest side of its thumbnails in pixels; 0: it has none.
 */
export interface PackHeader {
  readonly gallery: string;
  readonly space: string;
  readonly dim: number;
  readonly sequence: number;
  readonly created_at: string;
  readonly items: number;
  readonly fields: readonly string[];
  readonly thumbnail_size: number;
  readonly codec: PackCodec;
  readonly recall: PackRecall | null;
  readonly sections: readonly Section[];
}

/** The bytes of one code of a pack. */
export const codeBytes = ({ codec, dim }: PackHeader): number => (codec.kind === "product" ? codec.bytes : dim);

export function sectionOf(header: PackHeader, name: SectionName): Section | undefined {
  return header.sections.find((section) => section.name === name);
}

/** How many bytes the header takes, with what stands before it. `start`: the file's first 12 bytes or more. */
export function headerEnd(start: Uint8Array): number {
  const magic = String.fromCharCode(...start.subarray(0, 8));
  if (start.length < PREAMBLE_BYTES || !magic.startsWith(MAGIC)) {
    throw new DeviceError("not-a-pack", "Expected an offline pack, got another file. Reload the app.");
  }
  if (magic !== `${MAGIC}${FORMAT}`) throw newer(magic.slice(MAGIC.length));
  const length = new DataView(start.buffer, start.byteOffset).getUint32(8, true);
  const end = PREAMBLE_BYTES + length;
  if (end > START_BYTES) throw damaged(`its header ends at byte ${end}, at most ${START_BYTES} are allowed`);
  return end;
}

/**
 * The header of a pack. `start`: the file's first bytes, at least `headerEnd` of them.
 *
 * Throws DeviceError: not-a-pack, also for a newer version; damaged-pack if sections overlap, or do not have the sizes that
 * follow from the other members.
 */
export function readPackHeader(start: Uint8Array): PackHeader {
  const end = headerEnd(start);
  if (start.length < end) throw damaged("it ends within its header");
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(start.subarray(PREAMBLE_BYTES, end)));
  } catch {
    throw damaged("its header is not JSON");
  }
  const header = parsed as PackHeader & { readonly format?: unknown };
  if (typeof header !== "object" || header === null) throw damaged("its header is not an object");
  if (header.format !== FORMAT) throw newer(String(header.format));
  checkMembers(header);
  checkSections(header, end);
  return header;
}

function checkMembers(header: PackHeader): void {
  const { codec, dim, fields, gallery, items, sequence, space, thumbnail_size: thumbnailSize } = header;
  const whole = (value: number, least: number, most: number) => Number.isInteger(value) && value >= least && value <= most;
  const isSound =
    typeof gallery === "string" &&
    typeof space === "string" &&
    typeof header.created_at === "string" &&
    whole(dim, 1, 65_536) &&
    whole(sequence, 0, Number.MAX_SAFE_INTEGER) &&
    whole(items, 0, MOST_ITEMS) &&
    whole(thumbnailSize, 0, 4096) &&
    Array.isArray(fields) &&
    fields.every((field) => typeof field === "string") &&
    typeof codec === "object" &&
    codec !== null &&
    typeof codec.id === "string" &&
    (codec.kind === "int8" || (codec.kind === "product" && whole(codec.bytes, 1, dim))) &&
    Array.isArray(header.sections);
  if (!isSound) throw damaged("a member of its header is missing or has a wrong type");
}

function checkSections(header: PackHeader, end: number): void {
  const { codec, dim, items, sections } = header;
  const sizes: Partial<Record<SectionName, number>> = {
    codec: codec.kind === "product" ? 2 * dim + 4 * (codec.bytes + 1) + 512 * dim : 0,
    codes: items * codeBytes(header),
    scales: 4 * items,
    row_lengths: 4 * items,
    thumbnail_lengths: 4 * items,
  };
  let next = end;
  for (const { name, offset, sha256, size } of sections) {
    const expected = sizes[name] ?? size;
    if (offset !== next || size !== expected || !Number.isSafeInteger(size) || size < 0 || !/^[0-9a-f]{64}$/.test(sha256)) {
      throw damaged(`expected ${expected} bytes of its section "${name}" at ${next}, its header states ${size} at ${offset}`);
    }
    next += size;
  }
  const needed = SECTIONS.filter((name) => header.thumbnail_size > 0 || !name.startsWith("thumbnail"));
  const missing = needed.filter((name) => sections.filter((section) => section.name === name).length !== 1);
  if (missing.length > 0) throw damaged(`expected each section once, not so: ${missing.join(", ")}`);
  if (sectionOf(header, "labels")!.size % 12 !== 0) throw damaged("its labels are no runs of 12 bytes");
}

/** The labels of a pack's items, in order: of each change of the gallery that an item comes from. */
export function readLabels(header: PackHeader, bytes: Uint8Array): Float64Array {
  const labels = new Float64Array(header.items);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let filled = 0;
  let previous = -1;
  for (let at = 0; at + 12 <= bytes.length; at += 12) {
    const first = Number(view.getBigUint64(at, true));
    const count = view.getUint32(at + 8, true);
    if (first <= previous || filled + count > labels.length) throw damaged("its labels do not rise, or are too many");
    for (let place = 0; place < count; place++) labels[filled++] = first + place;
    previous = first + count - 1;
  }
  if (filled !== labels.length) throw damaged(`it has ${filled} labels for ${labels.length} items`);
  return labels;
}

/** Where each part of a section begins, with the end of the last part; the lengths are little-endian u32. */
export function readOffsets(lengths: Uint8Array, total: number, what: string): Float64Array {
  const view = new DataView(lengths.buffer, lengths.byteOffset, lengths.byteLength);
  const count = lengths.length >> 2;
  const offsets = new Float64Array(count + 1);
  for (let place = 0; place < count; place++) offsets[place + 1] = offsets[place]! + view.getUint32(4 * place, true);
  if (offsets[count] !== total) throw damaged(`its ${what} have ${total} bytes, their lengths add up to ${offsets[count]}`);
  return offsets;
}

export function damaged(reason: string): DeviceError {
  return new DeviceError("damaged-pack", `The offline pack is damaged: ${reason}. Fetch it again.`);
}

function newer(version: string): DeviceError {
  return new DeviceError(
    "not-a-pack",
    `The offline pack has format ${version.slice(0, 20)}; this app reads format ${FORMAT}. Reload the app, so that a newer one is fetched.`,
  );
}
