/**
 * Reads an encoder file's manifest and verifies its digest, without an engine.
 *
 * An ONNX file is a protobuf message. Its top-level `metadata_props` hold the manifest and, under `askew.sha256`, the
 * SHA-256 of the file itself, computed with those 64 digits set to `0`.
 */

import { DeviceError } from "./failures.js";
import { type Manifest, readManifest } from "./manifest.js";
import { sha256 } from "./sha256.js";

const DIGEST_KEY = "askew.sha256";
const GRAPH = 7;
const METADATA_PROPS = 14;

interface Span {
  readonly field: number;
  readonly start: number;
  readonly end: number;
}

/** A verified encoder file. */
export interface EncoderFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly manifest: Manifest;
  readonly sha256: string;
}

/** Read and verify an encoder file. Throws DeviceError (not-an-encoder, damaged-encoder). */
export async function readEncoderFile(bytes: Uint8Array<ArrayBuffer>): Promise<EncoderFile> {
  const metadata = readMetadata(bytes);
  const manifest = readManifest(new Map([...metadata].map(([key, { text }]) => [key, text])));
  const digest = metadata.get(DIGEST_KEY);
  if (!digest || !/^[0-9a-f]{64}$/.test(digest.text)) {
    throw new DeviceError("damaged-encoder", "The encoder file states no SHA-256. Fetch it again.");
  }
  const unsealed = bytes.slice();
  unsealed.fill("0".charCodeAt(0), digest.span.start, digest.span.end);
  const computed = await sha256(unsealed);
  if (computed !== digest.text) {
    throw new DeviceError(
      "damaged-encoder",
      `The encoder file is damaged: its bytes have SHA-256 ${computed.slice(0, 12)}…, ` +
        `its manifest states ${digest.text.slice(0, 12)}…. Fetch it again.`,
    );
  }
  return { bytes, manifest, sha256: computed };
}

function readMetadata(bytes: Uint8Array): Map<string, { text: string; span: Span }> {
  const metadata = new Map<string, { text: string; span: Span }>();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let hasGraph = false;
  try {
    for (const span of fields(bytes, 0, bytes.length)) {
      if (span.field === GRAPH) hasGraph = true;
      if (span.field !== METADATA_PROPS) continue;
      const parts = new Map([...fields(bytes, span.start, span.end)].map((part) => [part.field, part]));
      const empty: Span = { field: 2, start: span.end, end: span.end };
      const [key, value] = [parts.get(1) ?? empty, parts.get(2) ?? empty];
      const read = ({ start, end }: Span) => decoder.decode(bytes.subarray(start, end));
      metadata.set(read(key), { text: read(value), span: value });
    }
  } catch {
    hasGraph = false;
  }
  if (!hasGraph) throw new DeviceError("not-an-encoder", "The file is not an ONNX file, or is truncated.");
  return metadata;
}

/** The length-delimited fields of one protobuf message; other fields are skipped. Throws RangeError. */
function* fields(bytes: Uint8Array, start: number, end: number): Generator<Span> {
  let position = start;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift <= 63; shift += 7) {
      const byte = position < bytes.length ? bytes[position++]! : -1;
      if (byte < 0) throw new RangeError("truncated");
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError("not a varint");
  };
  while (position < end) {
    const tag = varint();
    const type = tag % 8;
    if (type === 0) varint();
    else if (type === 1) position += 8;
    else if (type === 5) position += 4;
    else if (type === 2) {
      const length = varint();
      if (position + length > end) throw new RangeError("truncated");
      yield { field: Math.floor(tag / 8), start: position, end: position + length };
      position += length;
    } else throw new RangeError("not protobuf");
  }
  if (position !== end) throw new RangeError("truncated");
}
