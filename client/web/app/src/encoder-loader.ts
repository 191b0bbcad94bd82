/** Loads the encoder of a gallery: chooses, fetches, verifies and self-tests it. One encoder is open at a time. */

import {
  type AskewClient,
  DeviceError,
  Encoder,
  type EncoderDescription,
  EncoderStore,
  type FetchedEncoder,
  ProblemError,
  isUnreachable,
} from "@askew/client";

import { ENGINE_FILES } from "./engine-files.js";
import type { RememberedServer } from "./remembered-server.js";
import type { DeviceStorage } from "./storage.js";

/** The encoders that passed their self-test on this device, each with the browser that it ran in; the last one first. */
const PASSED = "passed";
const MOST_PASSED = 3;

/** The browser in which several threads did not start: they are not tried there again. */
const SINGLE_THREADED = "single-threaded";
const MOST_THREADS = 4;

export interface OpenEncoder {
  readonly encoder: Encoder;
  readonly description: EncoderDescription;
  /** Whether the next visit need not download it. */
  readonly isKept: boolean;
}

export type LoadingStage =
  | { readonly kind: "choosing" }
  | { readonly kind: "fetching"; readonly done: number; readonly total: number }
  | { readonly kind: "checking" }
  | { readonly kind: "ready" };

export class EncoderLoader {
  private readonly store: EncoderStore;
  private open: OpenEncoder | undefined;
  private loading = new AbortController();
  private ended: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly client: AskewClient,
    private readonly storage: DeviceStorage,
    private readonly remembered: RememberedServer,
    private readonly onStage: (stage: LoadingStage) => void,
  ) {
    this.store = new EncoderStore(client);
  }

  /**
   * The best encoder for this device; a smaller one if the memory does not suffice. An earlier call that has not ended
   * throws AbortError. Throws ProblemError, DeviceError.
   */
  load(gallery: string): Promise<OpenEncoder> {
    this.loading.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    // An earlier call may be opening an encoder, which cannot be stopped.
    const loading = this.ended.then(() => this.loadFor(gallery, signal));
    this.ended = loading.catch(() => {});
    return loading;
  }

  /** The encoder that is open now. */
  get current(): OpenEncoder | undefined {
    return this.open;
  }

  close(): void {
    this.loading.abort();
    this.open?.encoder.close();
    this.open = undefined;
  }

  private async loadFor(gallery: string, signal: AbortSignal): Promise<OpenEncoder> {
    let tooLarge: DeviceError | undefined;
    let maxBytes: number | undefined;
    for (;;) {
      signal.throwIfAborted();
      this.report(signal, { kind: "choosing" });
      const description = await this.choose(gallery, maxBytes, tooLarge);
      signal.throwIfAborted();
      try {
        this.open = await this.openEncoder(gallery, description, signal);
        this.remembered.keepEncoder(gallery, description);
        this.report(signal, { kind: "ready" });
        return this.open;
      } catch (error) {
        if (!(error instanceof DeviceError) || error.kind !== "out-of-memory") throw error;
        // A server that has nothing smaller might offer the same file for ever.
        if (maxBytes !== undefined && description.size > maxBytes) throw error;
        tooLarge = error;
        maxBytes = description.size - 1;
      }
    }
  }

  private async choose(
    gallery: string,
    maxBytes: number | undefined,
    tooLarge: DeviceError | undefined,
  ): Promise<EncoderDescription> {
    try {
      return await this.client.bestEncoder(gallery, maxBytes === undefined ? {} : { maxBytes });
    } catch (error) {
      // Without a network: the one of the last visit, which may be kept on this device.
      const last = isUnreachable(error) && !tooLarge ? this.remembered.encoder(gallery) : undefined;
      if (last) return last;
      throw tooLarge && error instanceof ProblemError && error.kind === "no-encoder-fits" ? tooLarge : error;
    }
  }

  private async openEncoder(
    gallery: string,
    description: EncoderDescription,
    signal: AbortSignal,
  ): Promise<OpenEncoder> {
    if (this.open?.description.sha256 === description.sha256) return { ...this.open, description };
    // Phones have no room for two.
    this.open?.encoder.close();
    this.open = undefined;
    const fetched = await this.fetch(gallery, description, signal);
    this.report(signal, { kind: "checking" });
    // Another version of the browser may compute otherwise.
    const passed = `${description.sha256} ${navigator.userAgent}`;
    const before = (this.storage.read(PASSED) ?? "").split("\n").filter(Boolean);
    const threads = this.threads;
    const encoder = await Encoder.open(fetched.file, { files: ENGINE_FILES, hasPassed: before.includes(passed), threads });
    this.storage.keep(PASSED, [passed, ...before.filter((each) => each !== passed)].slice(0, MOST_PASSED).join("\n"));
    if (encoder.selfTest.threads < threads) this.storage.keep(SINGLE_THREADED, navigator.userAgent);
    if (signal.aborted) encoder.close();
    signal.throwIfAborted();
    return { encoder, description, isKept: fetched.isKept };
  }

  /** How many threads to try: several only on an isolated page. */
  private get threads(): number {
    if (!globalThis.crossOriginIsolated || this.storage.read(SINGLE_THREADED) === navigator.userAgent) return 1;
    return Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1);
  }

  private async fetch(gallery: string, description: EncoderDescription, signal: AbortSignal): Promise<FetchedEncoder> {
    const progress = (done: number, total: number) => this.report(signal, { kind: "fetching", done, total });
    const fetched = await this.store.fetch(gallery, description, progress, signal);
    signal.throwIfAborted();
    return fetched;
  }

  private report(signal: AbortSignal, stage: LoadingStage): void {
    if (!signal.aborted) this.onStage(stage);
  }
}
