/** The manifest of an encoder file, as its `metadata_props` hold it under `askew.*` (docs/encoder.md). */

import { DeviceError } from "./failures.js";

const FORMAT_VERSION = 1;
const PREFIX = "askew.";

/**
 * The parts of a manifest that a device needs. `golden`: for each golden picture, the vector that this device must
 * compute, float32 [dim]. `tolerance`: the highest cosine distance at which it agrees.
 */
export interface Manifest {
  readonly id: string;
  readonly role: "teacher" | "student";
  readonly space: string;
  readonly dim: number;
  readonly photoSize: number;
  readonly precision: string;
  readonly licence: string;
  readonly golden: ReadonlyMap<string, Float32Array>;
  readonly tolerance: number;
}

/** Read a manifest from the metadata of an encoder file. Throws DeviceError (not-an-encoder). */
export function readManifest(metadata: ReadonlyMap<string, string>): Manifest {
  const version = metadata.get(`${PREFIX}format_version`);
  if (version === undefined) {
    throw new DeviceError("not-an-encoder", "The file is an ONNX file without an Askew manifest.");
  }
  if (!/^\d{1,8}$/.test(version) || Number(version) > FORMAT_VERSION) {
    throw new DeviceError(
      "not-an-encoder",
      `The encoder has manifest version ${version.slice(0, 20)}; this app reads versions up to ${FORMAT_VERSION}. ` +
        "Reload the app, so that a newer one is fetched.",
    );
  }
  const read = new Reader(metadata);
  const dim = read.number("dim", 1, 65_536);
  const role = read.text("role");
  if (role !== "teacher" && role !== "student") throw invalid("role");
  return {
    id: `${read.text("name")}@${read.text("version")}`,
    role,
    space: read.text("space_id"),
    dim,
    photoSize: read.number("photo_size", 96, 8_192),
    precision: read.text("precision"),
    licence: read.text("licence"),
    golden: read.golden(dim),
    tolerance: read.number("tolerance", Number.MIN_VALUE, 0.01),
  };
}

class Reader {
  constructor(private readonly metadata: ReadonlyMap<string, string>) {}

  text(field: string): string {
    const value = this.metadata.get(PREFIX + field);
    if (!value) throw invalid(field);
    return value;
  }

  number(field: string, least: number, most: number): number {
    const value = Number(this.text(field));
    if (!(value >= least && value <= most)) throw invalid(field);
    return value;
  }

  golden(dim: number): Map<string, Float32Array> {
    const vectors = new Map<string, Float32Array>();
    try {
      const recorded = JSON.parse(this.text("golden")) as Record<string, string>;
      for (const [picture, text] of Object.entries(recorded)) {
        const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
        const view = new DataView(bytes.buffer);
        vectors.set(picture, Float32Array.from({ length: dim }, (_, place) => view.getFloat32(4 * place, true)));
        if (bytes.length !== 4 * dim) throw invalid("golden");
      }
    } catch {
      throw invalid("golden");
    }
    if (vectors.size === 0) throw invalid("golden");
    return vectors;
  }
}

function invalid(field: string): DeviceError {
  return new DeviceError("not-an-encoder", `The encoder's manifest is invalid: ${field}. Export the encoder again.`);
}
