/** Calls of a worker that answers each one, by its number. */

import { DeviceError, type FailureKind } from "./failures.js";

export type WorkerReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failure: { readonly kind: FailureKind; readonly message: string } };

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: DeviceError) => void;
}

export class WorkerCalls<Request extends object> {
  private readonly waiting = new Map<number, Asked>();
  private nextId = 0;

  /** `what`: names the worker in messages. */
  constructor(
    private readonly worker: Worker,
    private readonly what: string,
  ) {
    worker.onmessage = ({ data }: MessageEvent<WorkerReply>) => {
      const asked = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("value" in data) asked?.resolve(data.value);
      else asked?.reject(new DeviceError(data.failure.kind, data.failure.message));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.fail(new DeviceError("no-engine", `${this.what} failed: ${event.message || "its worker did not start"}.`));
    };
  }

  /** What the worker answers. `transfer`: handed over instead of copied. Throws DeviceError. */
  ask(request: Request, transfer: Transferable[] = []): Promise<unknown> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...request, id }, transfer);
    });
  }

  /** End the worker; what still waits for it fails with `stopped`. */
  close(): void {
    this.worker.terminate();
    this.fail(new DeviceError("stopped", `${this.what} was closed before it answered.`));
  }

  private fail(error: DeviceError): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
