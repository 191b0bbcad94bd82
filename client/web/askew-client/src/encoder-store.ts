/** Fetches encoder files, verifies them, and keeps them on this device in the Cache API, by their SHA-256. */

import type { AskewClient } from "./client.js";
import { type EncoderFile, readEncoderFile } from "./encoder-file.js";
import { DeviceError } from "./failures.js";
import { ProblemError } from "./problems.js";
import type { EncoderDescription } from "./wire-types.js";

const CACHE = "askew-encoders-1";

// Two galleries of one origin may have different encoders; phones have little room.
const MOST_FILES = 3;
const MOST_BYTES = 300_000_000;

/** Called while a file is fetched, with the bytes so far and in all. */
export type Progress = (done: number, total: number) => void;

/** What is kept, the last one used first. */
type Kept = readonly { readonly sha256: string; readonly size: number }[];

/** A fetched file. `isFromCache`: nothing was downloaded. `isKept`: the next start need not download it. */
export interface FetchedEncoder {
  readonly file: EncoderFile;
  readonly isFromCache: boolean;
  readonly isKept: boolean;
}

export class EncoderStore {
  /** `caches`: undefined in an insecure context; then nothing is kept. */
  constructor(
    private readonly client: AskewClient,
    private readonly caches: CacheStorage | undefined = globalThis.caches,
  ) {}

  /**
   * The file of an encoder, from this device if it has it, else from the server. A damaged copy is fetched again.
   *
   * Throws ProblemError, and DeviceError (not-an-encoder, damaged-encoder) for what the server sent.
   */
  async fetch(
    gallery: string,
    encoder: EncoderDescription,
    progress: Progress = () => {},
    signal?: AbortSignal,
  ): Promise<FetchedEncoder> {
    const kept = await this.read(encoder.sha256);
    if (kept) return { file: kept, isFromCache: true, isKept: true };
    const response = await this.client.encoderFile(gallery, encoder.id, signal);
    const file = await readEncoderFile(await readBody(response, encoder.size, progress));
    if (file.sha256 !== encoder.sha256) {
      throw new DeviceError(
        "damaged-encoder",
        `Expected ${encoder.id} with SHA-256 ${encoder.sha256.slice(0, 12)}…, got ${file.sha256.slice(0, 12)}…. Reload the app.`,
      );
    }
    return { file, isFromCache: false, isKept: await this.keep(file) };
  }

  /** The kept file of an encoder; undefined if there is none or it is damaged. */
  async read(sha256: string): Promise<EncoderFile | undefined> {
    try {
      const cache = await this.caches?.open(CACHE);
      const response = await cache?.match(address(sha256));
      if (!cache || !response) return undefined;
      try {
        const file = await readEncoderFile(new Uint8Array(await response.arrayBuffer()));
        if (file.sha256 === sha256) {
          await noteUse(cache, file);
          return file;
        }
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
      }
      await cache.delete(address(sha256));
    } catch {
      // A browser may refuse its storage, for example in private mode: the file is fetched then.
    }
    return undefined;
  }

  /**
   * Keep a file, and drop those that were not used for longest. False if the browser has no room for it even without
   * all others, or has no cache.
   */
  private async keep(file: EncoderFile): Promise<boolean> {
    try {
      const cache = await this.caches?.open(CACHE);
      if (!cache) return false;
      const kept = bounded([entry(file), ...(await readKept(cache)).filter(({ sha256 }) => sha256 !== file.sha256)]);
      // First, so that there is room.
      await dropOthers(cache, kept);
      try {
        await put(cache, file);
      } catch {
        await dropOthers(cache, []);
        await put(cache, file);
      }
      await noteUse(cache, file);
      return true;
    } catch {
      return false;
    }
  }
}

const address = (sha256: string): string => new URL(`/encoders/${sha256}`, globalThis.location.href).href;

/** The address of the list of what is kept. A browser's clock may be wrong, so it holds an order and no times. */
const listAddress = (): string => address("last-used");

const entry = ({ bytes, sha256 }: EncoderFile): Kept[number] => ({ sha256, size: bytes.length });

const put = (cache: Cache, file: EncoderFile): Promise<void> => cache.put(address(file.sha256), new Response(file.bytes));

/** As many as are kept; the first in any case. */
function bounded(files: Kept): Kept {
  let bytes = 0;
  return files.slice(0, MOST_FILES).filter(({ size }, place) => (bytes += size) <= MOST_BYTES || place === 0);
}

async function readKept(cache: Cache): Promise<Kept> {
  try {
    const listed: unknown = await (await cache.match(listAddress()))?.json();
    return Array.isArray(listed) ? (listed as Kept).filter(({ sha256, size }) => sha256 && size > 0) : [];
  } catch {
    return [];
  }
}

/** Note that a file is the last one used. */
async function noteUse(cache: Cache, file: EncoderFile): Promise<void> {
  const before = await readKept(cache);
  if (before[0]?.sha256 === file.sha256) return;
  const used = [entry(file), ...before.filter(({ sha256 }) => sha256 !== file.sha256)];
  const kept = new Set((await cache.keys()).map(({ url }) => url));
  const list = used.filter(({ sha256 }) => kept.has(address(sha256)));
  // The file itself matters more than its place in the list.
  await cache.put(listAddress(), new Response(JSON.stringify(list))).catch(() => {});
}

/** Drop all files but these. */
async function dropOthers(cache: Cache, kept: Kept): Promise<void> {
  const wanted = new Set([listAddress(), ...kept.map(({ sha256 }) => address(sha256))]);
  for (const request of await cache.keys()) {
    if (!wanted.has(request.url)) await cache.delete(request);
  }
}

async function readBody(response: Response, size: number, progress: Progress): Promise<Uint8Array<ArrayBuffer>> {
  if (!response.body) return new Uint8Array(await response.arrayBuffer());
  // The description states the size, so that the parts need not be joined afterwards: that would take twice the memory.
  const bytes = allocate(size);
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done: isEnd, value } = await reader.read().catch(explainBroken);
    if (isEnd) break;
    if (done + value.length > size) {
      await reader.cancel();
      throw new DeviceError("damaged-encoder", `Expected an encoder file of ${size} bytes, got a longer one. Reload the app.`);
    }
    bytes.set(value, done);
    done += value.length;
    progress(done, size);
  }
  if (done !== size) {
    throw new DeviceError("damaged-encoder", `Expected an encoder file of ${size} bytes, got ${done}. Try again.`);
  }
  return bytes;
}

function allocate(size: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(size);
  } catch {
    throw new DeviceError("out-of-memory", `This device has too little memory for an encoder of ${size} bytes. Close other tabs.`);
  }
}

/** Browsers report a connection that breaks while a body is read as a TypeError. */
function explainBroken(error: unknown): never {
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  throw new ProblemError("unreachable", 0, "No connection", "The connection broke while the encoder was fetched. Try again.");
}
