/** The worker of an offline pack: it holds the codes and searches them, so that the page stays responsive. */

import { DeviceError } from "./failures.js";
import { readCodes } from "./pack-codec.js";
import { readOffsets } from "./pack-file.js";
import type { OpenPack, PackRequest } from "./pack-messages.js";
import { PackIndex } from "./pack-search.js";
import type { WorkerReply } from "./worker-calls.js";

interface WorkerScope {
  onmessage: ((event: MessageEvent<PackRequest & { readonly id: number }>) => void) | null;
  postMessage(reply: WorkerReply): void;
}

const scope = globalThis as unknown as WorkerScope;
let opened: PackIndex | undefined;

scope.onmessage = ({ data }) => {
  try {
    scope.postMessage({ id: data.id, value: answer(data) });
  } catch (error) {
    const kind = error instanceof DeviceError ? error.kind : error instanceof RangeError ? "out-of-memory" : "damaged-pack";
    const message = error instanceof Error ? error.message : String(error);
    scope.postMessage({ id: data.id, failure: { kind, message } });
  }
};

function answer(request: PackRequest): unknown {
  if (request.kind === "open") {
    opened = open(request);
    return undefined;
  }
  if (!opened) throw new DeviceError("stopped", "The offline pack is not open.");
  if (request.kind === "search") {
    const began = performance.now();
    const hits = opened.search(request.query, request.options);
    return { hits, milliseconds: performance.now() - began };
  }
  if (request.kind === "similar") return opened.similar(request.itemId, request.limit);
  return opened.items(request.from, request.count);
}

function open({ codec, codes, header, rowLengths, rows, scales }: OpenPack): PackIndex {
  return new PackIndex(readCodes(header, codec, codes, scales), rows, readOffsets(rowLengths, rows.length, "rows"));
}
