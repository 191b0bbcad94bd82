/** An encoder on this device: a handle to the worker that runs it. */

import type { Crop } from "./decode.js";
import type { EncoderFile } from "./encoder-file.js";
import type { EngineFiles } from "./engine.js";
import { DeviceError } from "./failures.js";
import type { Manifest } from "./manifest.js";
import type { Description, Opened, Reply, Request } from "./messages.js";
import type { Pixels } from "./pixels.js";

// Large encoders on old phones take half a minute; what takes longer than this has stopped.
const TIME_LIMIT = 120_000;

/**
 * `files`: where ONNX Runtime's files lie. `threads`: how many threads to try; more than one is tried only on a
 * cross-origin isolated page, and given up for one thread after `patience` milliseconds, because some browsers hang.
 * `timeLimit`: milliseconds that one thread has to get ready. `hasPassed`: this device has passed the whole self-test with this file before; then one golden picture is recomputed
 * instead of all.
 */
export interface EncoderOptions {
  readonly files: EngineFiles;
  readonly threads?: number;
  readonly patience?: number;
  readonly timeLimit?: number;
  readonly hasPassed?: boolean;
}

interface Asked {
  readonly resolve: (value: Opened | Description) => void;
  readonly reject: (error: DeviceError) => void;
}

type WithoutId<Message> = Message extends { readonly id: number } ? Omit<Message, "id"> : never;

export class Encoder {
  private constructor(
    private readonly worker: EncoderWorker,
    private readonly file: EncoderFile,
    private readonly opened: Opened,
  ) {}

  /**
   * Load a verified encoder file in a worker, and recompute its golden vectors on this device.
   *
   * Throws DeviceError: not-an-encoder, encoder-disagrees, out-of-memory, no-engine, open-timeout.
   */
  static async open(file: EncoderFile, options: EncoderOptions): Promise<Encoder> {
    const wanted = globalThis.crossOriginIsolated ? (options.threads ?? 1) : 1;
    if (wanted > 1) {
      try {
        return await openWithin(options.patience ?? 10_000, file, options, wanted);
      } catch (error) {
        // Whatever failed with several threads may work with one: their memory, for example, is reserved as a whole.
        if (!(error instanceof DeviceError)) throw error;
      }
    }
    return openWithin(options.timeLimit ?? TIME_LIMIT, file, options, 1);
  }

  /** @internal */
  static async openWith(
    worker: EncoderWorker,
    file: EncoderFile,
    { files, hasPassed = false }: EncoderOptions,
    threads: number,
  ): Promise<Encoder> {
    try {
      const opened = (await worker.ask({ kind: "open", file, files, threads, hasPassed })) as Opened;
      return new Encoder(worker, file, opened);
    } catch (error) {
      worker.close();
      throw error;
    }
  }

  get manifest(): Manifest {
    return this.file.manifest;
  }

  /** The cosine distances from the golden vectors, by picture, and how long loading took, in milliseconds. */
  get selfTest(): Opened {
    return this.opened;
  }

  /**
   * Describe a photo, or a crop of it, in the worker. The photo does not leave the device.
   *
   * Throws DeviceError: unreadable-photo, photo-too-large, photo-too-thin, out-of-memory, stopped.
   */
  async describe(photo: Blob | Pixels, crop?: Crop): Promise<Description> {
    return (await this.worker.ask({ kind: "describe", photo, crop })) as Description;
  }

  /** End the worker and free its memory; photos that are being described fail with `stopped`. */
  close(): void {
    this.worker.close();
  }
}

/** Open an encoder within so many milliseconds. Throws DeviceError (open-timeout among others). */
async function openWithin(
  milliseconds: number,
  file: EncoderFile,
  options: EncoderOptions,
  threads: number,
): Promise<Encoder> {
  const worker = new EncoderWorker();
  const seconds = Math.ceil(milliseconds / 1000);
  const timer = setTimeout(
    () =>
      worker.fail(
        new DeviceError(
          "open-timeout",
          `The encoder ${file.manifest.id} was not ready after ${seconds} s. Close other tabs and try again.`,
        ),
      ),
    milliseconds,
  );
  try {
    return await Encoder.openWith(worker, file, options, threads);
  } finally {
    clearTimeout(timer);
  }
}

class EncoderWorker {
  private readonly worker = new Worker(new URL("./encoder.worker.js", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Asked>();
  private nextId = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const asked = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("value" in data) asked?.resolve(data.value);
      else asked?.reject(new DeviceError(data.failure.kind, data.failure.message));
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.fail(new DeviceError("no-engine", `The encoder's worker failed: ${event.message || "it did not start"}.`));
    };
  }

  ask(request: WithoutId<Request>): Promise<Opened | Description> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...request, id });
    });
  }

  close(): void {
    this.worker.terminate();
    this.fail(new DeviceError("stopped", "The encoder was closed before it answered."));
  }

  /** Let everything that was asked fail. */
  fail(error: DeviceError): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
