/** Runs one encoder file with ONNX Runtime's WebAssembly build. One session at a time: phones have little memory. */

import * as ort from "onnxruntime-web/wasm";

import type { EncoderFile } from "./encoder-file.js";
import { DeviceError } from "./failures.js";
import { cosineDistance, drawGoldenPicture } from "./golden.js";
import type { Pixels } from "./pixels.js";

/** Where ONNX Runtime's two files lie: absolute URLs, on the app's own origin. */
export interface EngineFiles {
  readonly module: string;
  readonly wasm: string;
}

export class Engine {
  private constructor(
    private readonly session: ort.InferenceSession,
    private readonly file: EncoderFile,
  ) {}

  /** Load an encoder. `threads`: more than one needs a cross-origin isolated page. Throws DeviceError. */
  static async open(file: EncoderFile, files: EngineFiles, threads: number): Promise<Engine> {
    ort.env.wasm.wasmPaths = { mjs: files.module, wasm: files.wasm };
    ort.env.wasm.numThreads = threads;
    // The encoder runs in a worker already.
    ort.env.wasm.proxy = false;
    ort.env.logLevel = "error";
    try {
      // Photos have many shapes: memory patterns and the arena would keep memory for the largest of each shape.
      const options = { executionProviders: ["wasm"], enableMemPattern: false, enableCpuMemArena: false };
      return new Engine(await ort.InferenceSession.create(file.bytes, options), file);
    } catch (error) {
      throw explain(error, "The encoder cannot be loaded");
    }
  }

  /** Describe a photo: float32 [dim], unit length. Throws DeviceError (out-of-memory, not-an-encoder). */
  async describe({ data, height, width }: Pixels): Promise<Float32Array<ArrayBuffer>> {
    const image = new ort.Tensor("uint8", data, [1, height, width, 3]);
    try {
      const { descriptor } = await this.session.run({ image }, ["descriptor"]);
      const vector = Float32Array.from(descriptor!.data as Float32Array);
      descriptor!.dispose();
      if (vector.length === this.file.manifest.dim) return vector;
    } catch (error) {
      throw explain(error, "The photo cannot be described");
    } finally {
      image.dispose();
    }
    throw new DeviceError("not-an-encoder", `Expected vectors of ${this.file.manifest.dim} values from the encoder.`);
  }

  /**
   * Recompute the encoder's golden vectors: the cosine distance to the recorded vector, by picture. `most`: recompute
   * only that many, the smallest pictures first.
   *
   * Throws DeviceError (encoder-disagrees) if a distance exceeds the tolerance: then this device computes wrongly, and
   * its vectors would find the wrong items.
   */
  async checkGolden(most: number): Promise<ReadonlyMap<string, number>> {
    const { golden, id, tolerance } = this.file.manifest;
    const distances = new Map<string, number>();
    const pictures = [...golden].map(([name, recorded]) => ({ name, recorded, picture: drawGoldenPicture(name) }));
    pictures.sort((one, other) => (one.picture?.data.length ?? 0) - (other.picture?.data.length ?? 0));
    for (const { name, picture, recorded } of pictures.slice(0, most)) {
      if (!picture) {
        throw new DeviceError("not-an-encoder", `${id} records a vector of the picture "${name}", which is unknown here.`);
      }
      const distance = cosineDistance(await this.describe(picture), recorded);
      // Written so that NaN is refused.
      if (!(distance <= tolerance)) {
        throw new DeviceError(
          "encoder-disagrees",
          `This device does not compute the recorded vectors of ${id}: picture "${name}" is off by ` +
            `${distance.toExponential(1)} in cosine distance, at most ${tolerance} is allowed. It cannot be used here.`,
        );
      }
      distances.set(name, distance);
    }
    return distances;
  }

  /** Free the session's memory. */
  async close(): Promise<void> {
    await this.session.release();
  }
}

function explain(error: unknown, what: string): DeviceError {
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof RangeError || /out of memory|allocat|bad_alloc|memory access/i.test(reason)) {
    return new DeviceError(
      "out-of-memory",
      `${what}: this device has too little memory for it. Close other tabs, or ask for a smaller encoder.`,
    );
  }
  if (/fetch|dynamically imported|load failed/i.test(reason)) {
    return new DeviceError("no-engine", `${what}: the app's files could not be fetched. Reload the app.`);
  }
  if (typeof WebAssembly === "undefined" || /no available backend|wasm|WebAssembly/i.test(reason)) {
    return new DeviceError("no-engine", `${what}: this browser cannot run WebAssembly with SIMD (${reason.slice(0, 120)}).`);
  }
  return new DeviceError("not-an-encoder", `${what}: ${reason.split("\n")[0]!.slice(0, 200)}`);
}
