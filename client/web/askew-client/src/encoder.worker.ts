/** The encoder's worker: it decodes and describes photos, one after the other, so that the page stays responsive. */

import { decodePhoto } from "./decode.js";
import { Engine } from "./engine.js";
import { DeviceError } from "./failures.js";
import type { DescribeRequest, Description, OpenRequest, Opened, Reply, Request } from "./messages.js";

interface WorkerScope {
  onmessage: ((event: MessageEvent<Request>) => void) | null;
  postMessage(reply: Reply, transfer: Transferable[]): void;
}

const scope = globalThis as unknown as WorkerScope;
let opened: { engine: Engine; photoSize: number } | undefined;
let previous: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }) => {
  previous = previous.then(() => answer(data));
};

async function answer(request: Request): Promise<void> {
  try {
    const value = request.kind === "open" ? await open(request) : await describe(request);
    const transfer = "vector" in value ? [value.vector.buffer] : [];
    scope.postMessage({ id: request.id, value }, transfer);
  } catch (error) {
    const known = error instanceof DeviceError;
    const kind = known ? error.kind : request.kind === "open" ? "no-engine" : "unreadable-photo";
    scope.postMessage({ id: request.id, failure: { kind, message: known ? error.message : String(error) } }, []);
  }
}

async function open({ file, files, hasPassed, threads }: OpenRequest): Promise<Opened> {
  const began = performance.now();
  const engine = await Engine.open(file, files, threads);
  // This also warms the session up: the first inference costs twice as much as those after it.
  const golden = await engine.checkGolden(hasPassed ? 1 : Infinity);
  opened = { engine, photoSize: file.manifest.photoSize };
  return { golden, threads, milliseconds: performance.now() - began };
}

async function describe({ crop, photo }: DescribeRequest): Promise<Description> {
  if (!opened) throw new DeviceError("stopped", "The encoder is not open.");
  const began = performance.now();
  const pixels = photo instanceof Blob ? await decodePhoto(photo, opened.photoSize, crop) : photo;
  const vector = await opened.engine.describe(pixels);
  return { vector, milliseconds: performance.now() - began, width: pixels.width, height: pixels.height };
}
