/** Calls about encoders. */

import { ProblemError } from "@askew/client";

import { galleryPath, type Progress, segment, type Server } from "./server.js";
import type { Encoder, Runtime } from "./types.js";

export class EncoderCalls {
  constructor(private readonly server: Server) {}

  /** All encoders that the key may see, newest first. */
  async list(signal?: AbortSignal): Promise<readonly Encoder[]> {
    return (await this.server.get<{ encoders: Encoder[] }>("v1/encoders", {}, signal)).encoders;
  }

  /** The encoder that a gallery offers to a runtime; undefined if it has none that fits. */
  async best(gallery: string, runtime: Runtime, signal?: AbortSignal): Promise<Encoder | undefined> {
    try {
      return await this.server.get<Encoder>("v1/encoders/best", { gallery, runtime }, signal);
    } catch (error) {
      if (error instanceof ProblemError && error.kind === "no-encoder-fits") return undefined;
      throw error;
    }
  }

  admit(gallery: string, file: Blob, progress: Progress): Promise<Encoder> {
    const options = { type: "application/octet-stream" };
    return this.server.upload("POST", `${galleryPath(gallery)}/encoders`, file, progress, options);
  }

  retire(gallery: string, id: string): Promise<unknown> {
    return this.server.call("DELETE", encoderPath(gallery, id));
  }

  setDefault(gallery: string, id: string, runtime: Runtime): Promise<unknown> {
    return this.server.call("PUT", `${encoderPath(gallery, id)}/default`, { json: { runtime } });
  }
}

const encoderPath = (gallery: string, id: string): string => `${galleryPath(gallery)}/encoders/${segment(id)}`;
