/** What the page and the encoder's worker send to each other. */

import type { Crop } from "./decode.js";
import type { EncoderFile } from "./encoder-file.js";
import type { EngineFiles } from "./engine.js";
import type { FailureKind } from "./failures.js";
import type { Pixels } from "./pixels.js";

export interface OpenRequest {
  readonly kind: "open";
  readonly id: number;
  readonly file: EncoderFile;
  readonly files: EngineFiles;
  readonly threads: number;
  readonly hasPassed: boolean;
}

export interface DescribeRequest {
  readonly kind: "describe";
  readonly id: number;
  readonly photo: Blob | Pixels;
  readonly crop: Crop | undefined;
}

export type Request = OpenRequest | DescribeRequest;

/**
 * An encoder that this device may use. `golden`: the cosine distances from its golden vectors, by picture.
 * `milliseconds`: how long loading and the self-test took.
 */
export interface Opened {
  readonly golden: ReadonlyMap<string, number>;
  readonly threads: number;
  readonly milliseconds: number;
}

/** A described photo. `milliseconds`: from the file to the vector. `width`, `height`: of the pixels that were described. */
export interface Description {
  readonly vector: Float32Array<ArrayBuffer>;
  readonly milliseconds: number;
  readonly width: number;
  readonly height: number;
}

export type Reply =
  | { readonly id: number; readonly value: Opened | Description }
  | { readonly id: number; readonly failure: { readonly kind: FailureKind; readonly message: string } };
