/** `@askew/client`: describe photos on the device, and search an Askew server with their vectors. Needs no DOM. */

export { AskewClient, type Query, type SearchOptions, type TimedAnswer } from "./client.js";
export { type Crop, decodePhoto, isPhotoTooLarge } from "./decode.js";
export { Encoder, type EncoderOptions } from "./encoder.js";
export { type EncoderFile, readEncoderFile } from "./encoder-file.js";
export { EncoderStore, type FetchedEncoder, type Progress } from "./encoder-store.js";
export type { EngineFiles } from "./engine.js";
export { DeviceError, type FailureKind } from "./failures.js";
export { drawGoldenPicture } from "./golden.js";
export type { Manifest } from "./manifest.js";
export type { Description } from "./messages.js";
export { OfflinePack, type PackAnswer } from "./offline-pack.js";
export { type PackCodes, readCodes } from "./pack-codec.js";
export { type PackHeader, readPackHeader } from "./pack-file.js";
export {
  type PackHit,
  PackIndex,
  type PackItem,
  type PackSearchOptions,
  compareCodePoints,
  falseMatchThreshold,
} from "./pack-search.js";
export { type KeptPack, type PackProgress, PackStore } from "./pack-store.js";
export type { Pixels } from "./pixels.js";
export { ProblemError, readProblem } from "./problems.js";
export { computeSha256, sha256 } from "./sha256.js";
export { MAX_PIXELS, SHORTEST_SIDE, type Size, capFactor, shrunkSize } from "./size-rule.js";
export { type Contact, type Parameters, Transport, isUnreachable, unreachable } from "./transport.js";
export { packFloat16, unpackFloat16 } from "./wire.js";
export type * from "./wire-types.js";
