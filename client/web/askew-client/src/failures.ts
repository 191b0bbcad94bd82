/** What can go wrong on the device. What the server refuses is a ProblemError (problems.ts). */

/**
 * - `not-an-encoder`: the file is not an ONNX file with a manifest, or is of a newer version
 * - `damaged-encoder`: the file's bytes do not have the SHA-256 that they state
 * - `encoder-disagrees`: this device does not compute the encoder's golden vectors
 * - `out-of-memory`: the device has too little memory for the encoder or the photo
 * - `no-engine`: the device cannot run WebAssembly with SIMD
 * - `open-timeout`: the encoder did not get ready in time
 * - `unreadable-photo`: not a photo, or one that this browser cannot decode
 * - `photo-too-large`, `photo-too-thin`: a photo outside the bounds of `size-rule.ts`
 * - `not-a-pack`: the file is no offline pack, or one of a newer version
 * - `damaged-pack`: the pack's bytes do not have the SHA-256 that its header states, or contradict its header
 * - `foreign-pack`: the pack was made in another space than the query
 * - `storage-full`: the browser has no room for the pack, or refuses to keep it
 * - `stopped`: the encoder or the pack was closed before it answered
 */
export type FailureKind =
  | "not-an-encoder"
  | "damaged-encoder"
  | "encoder-disagrees"
  | "out-of-memory"
  | "no-engine"
  | "open-timeout"
  | "unreadable-photo"
  | "photo-too-large"
  | "photo-too-thin"
  | "not-a-pack"
  | "damaged-pack"
  | "foreign-pack"
  | "storage-full"
  | "stopped";

/** A failure on this device. `message` says what was expected, what came, and what to do. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";

  constructor(
    readonly kind: FailureKind,
    message: string,
  ) {
    super(message);
  }
}
