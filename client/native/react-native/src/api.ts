/** The three calls of a server that a search needs (docs/api.md). */

import type { Manifest } from "./encoder.ts";
import { packFloat16 } from "./float16.ts";

/** An encoder as the server describes it. `sha256`: of the file with those 64 digits set to `0`. */
export interface EncoderDescription {
  readonly id: string;
  readonly sha256: string;
  readonly size: number;
}

export interface Hit {
  readonly id: string;
  readonly score: number;
  readonly payload: Readonly<Record<string, unknown>> | null;
}

/** The server answered, but with a problem. `status` 409: the gallery has retired the encoder, open the store again. */
export class ServerProblem extends Error {
  readonly status: number;

  constructor(status: number, sentence: string) {
    super(sentence);
    this.status = status;
  }
}

/** React Native's own fetch waits for ever. */
const PATIENCE_MILLISECONDS = 60_000;

export class AskewServer {
  private readonly address: string;
  private readonly gallery: string;
  private readonly key: string | undefined;

  /** `address`: with its path prefix. `key`: one with the scope `search`. */
  constructor(address: string, gallery: string, key?: string) {
    this.address = address.replace(/\/+$/, "");
    this.gallery = gallery;
    this.key = key;
  }

  /** The admitted student for this device. `runtime`: react-native runs the native ONNX Runtime of the phone. */
  async bestEncoder(runtime: "android" | "ios"): Promise<EncoderDescription> {
    return this.json(`/v1/encoders/best?gallery=${encodeURIComponent(this.gallery)}&runtime=${runtime}`);
  }

  async manifest(id: string): Promise<Manifest> {
    return this.json(`/v1/encoders/${encodeURIComponent(id)}/manifest?gallery=${encodeURIComponent(this.gallery)}`);
  }

  async encoderFile(id: string): Promise<Uint8Array> {
    const path = `/v1/encoders/${encodeURIComponent(id)}/file?gallery=${encodeURIComponent(this.gallery)}`;
    return this.send(path, {}, async (answer) => new Uint8Array(await answer.arrayBuffer()));
  }

  /** Send a vector, and nothing else, and return the hits, nearest first. */
  async search(vector: Float32Array, encoder: Manifest, limit = 10): Promise<readonly Hit[]> {
    const path = `/v1/galleries/${encodeURIComponent(this.gallery)}/search?limit=${limit}&max_false_match=0.2`;
    const request = {
      method: "POST",
      body: packFloat16(vector) as BodyInit,
      headers: {
        "Content-Type": "application/octet-stream",
        "Askew-Space": encoder.space_id,
        "Askew-Dtype": "f16le",
        "Askew-Encoder": `${encoder.name}@${encoder.version}`,
      },
    };
    return this.send(path, request, async (answer) => ((await answer.json()) as { hits: readonly Hit[] }).hits);
  }

  private async json<Answer>(path: string): Promise<Answer> {
    return this.send(path, {}, async (answer) => (await answer.json()) as Answer);
  }

  /** Throws ServerProblem with the sentence of the server's problem; Error if no whole answer comes in time. */
  private async send<Answer>(
    path: string,
    init: RequestInit & { headers?: Record<string, string> },
    read: (answer: Response) => Promise<Answer>,
  ): Promise<Answer> {
    const headers = this.key ? { ...init.headers, Authorization: `Bearer ${this.key}` } : { ...init.headers };
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), PATIENCE_MILLISECONDS);
    try {
      const answer = await fetch(this.address + path, { ...init, headers, signal: stop.signal });
      if (answer.ok) return await read(answer);
      const problem = (await answer.json().catch(() => ({}))) as { detail?: string };
      throw new ServerProblem(answer.status, problem.detail ?? `The server answered ${answer.status}.`);
    } catch (error) {
      if (error instanceof ServerProblem) throw error;
      throw new Error("The server did not answer. Is it running, and this device online?");
    } finally {
      clearTimeout(timer);
    }
  }
}
