/** An encoder file on ONNX Runtime: loaded, proved on this device, and run. */

import { InferenceSession, Tensor } from "onnxruntime-react-native";

import { readFloat32 } from "./float16.ts";
import { drawGoldenPicture, type Pixels } from "./golden-picture.ts";

/** What an app needs of a manifest (`GET /v1/encoders/{id}/manifest`). */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly space_id: string;
  readonly dim: number;
  readonly photo_size: number;
  readonly golden: Readonly<Record<string, string>>;
  readonly tolerance: number;
}

export class Encoder {
  readonly manifest: Manifest;
  private readonly session: InferenceSession;

  private constructor(session: InferenceSession, manifest: Manifest) {
    this.session = session;
    this.manifest = manifest;
  }

  /** Load a file and recompute its golden vectors. Throws Error if this device computes them wrongly. */
  static async open(path: string, manifest: Manifest): Promise<Encoder> {
    // The CPU by default: other providers only where the golden vectors still agree with them.
    const session = await InferenceSession.create(path, { executionProviders: ["cpu"] });
    const encoder = new Encoder(session, manifest);
    for (const [name, recorded] of Object.entries(manifest.golden)) {
      const distance = cosineDistance(await encoder.describe(drawGoldenPicture(name)), readFloat32(recorded));
      if (!(distance <= manifest.tolerance)) {
        await session.release();
        throw new Error(
          `This device computes the picture ${name} wrongly: off by ${distance}, at most ${manifest.tolerance} is allowed.`,
        );
      }
    }
    return encoder;
  }

  /** Free the memory of the session. */
  async close(): Promise<void> {
    await this.session.release();
  }

  /** Describe a decoded photo: a unit vector. Throws Error for a photo that is too thin. */
  async describe(photo: Pixels): Promise<Float32Array> {
    const shrink = Math.min(1, this.manifest.photo_size / Math.max(photo.width, photo.height));
    if (Math.floor(Math.min(photo.width, photo.height) * shrink + 0.5) < 32) {
      throw new Error(`Expected a photo that is less thin than ${photo.width} × ${photo.height} px. Crop it to its subject.`);
    }
    const image = new Tensor("uint8", photo.data, [1, photo.height, photo.width, 3]);
    const { descriptor } = await this.session.run({ image }, ["descriptor"]);
    if (!descriptor) throw new Error("Expected an encoder file with the output `descriptor`.");
    return descriptor.data as Float32Array;
  }
}

/** 1 minus the cosine; NaN if a value is not finite, so compare with `!(distance <= tolerance)`. */
export function cosineDistance(one: Float32Array, other: Float32Array): number {
  if (one.length !== other.length) return Number.NaN;
  let [product, ones, others] = [0, 0, 0];
  for (let place = 0; place < one.length; place++) {
    product += one[place]! * other[place]!;
    ones += one[place]! ** 2;
    others += other[place]! ** 2;
  }
  const distance = 1 - product / Math.sqrt(ones * others);
  return distance < 0 ? 0 : distance;
}
