/**
 * The service worker: the app starts without a network.
 *
 * It keeps the app's own files, those of one build together, and answers for nothing else: not for `v1`, `admin`, `docs` or
 * any request with a key. A new version is fetched beside the old one, and takes over when no page of the old one is open,
 * or when a page asks for it; until then every page gets the files of its own version.
 */

// The build writes the list here: addresses relative to the app's own, with the SHA-256 of each file in base64.
declare const __APP_FILES__: readonly (readonly [address: string, digest: string])[];

const worker = globalThis as unknown as ServiceWorkerGlobalScope;
const files = __APP_FILES__;
const scope = new URL(worker.registration.scope);
/** Several servers may share one origin, under different paths. */
const CACHES = `askew-app:${scope.pathname}:`;
const digests = new Map(files.map(([address, digest]) => [new URL(address, scope).href, digest]));

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("message", ({ data }) => {
  if (data === "take over") void worker.skipWaiting();
});
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = addressOf(request);
  if (address !== undefined) event.respondWith(answer(request, address));
});

/** The listed address that a request asks for; undefined if it is none of this worker's business. */
function addressOf(request: Request): string | undefined {
  if (request.method !== "GET" || request.headers.has("Authorization") || request.headers.has("Range")) return undefined;
  const url = new URL(request.url);
  // The app's page may be opened with any query; what it means is the page's own business.
  if (request.mode === "navigate" && url.origin === scope.origin && url.pathname === scope.pathname) return scope.href;
  return digests.has(url.href) ? url.href : undefined;
}

async function answer(request: Request, address: string): Promise<Response> {
  try {
    const kept = await (await caches.open(await cacheName())).match(address, { ignoreVary: true });
    if (kept) return kept;
  } catch {
    // A browser may refuse its storage, or clear it: then the network answers as if there were no worker.
  }
  return fetch(request);
}

async function install(): Promise<void> {
  const name = await cacheName();
  const existed = await caches.has(name);
  try {
    const cache = await caches.open(name);
    // One after the other: phones have few connections, and the page may be busy with the encoder.
    for (const [address, digest] of digests) await cache.put(address, await fetchFile(address, digest));
  } catch (error) {
    if (!existed) await caches.delete(name);
    throw error;
  }
}

async function activate(): Promise<void> {
  const current = await cacheName();
  for (const name of await caches.keys()) {
    if (name.startsWith(CACHES) && name !== current) await caches.delete(name);
  }
  // The page of the first visit was there before its worker: it keeps this version from now on.
  await worker.clients.claim();
}

/**
 * A file of exactly this version. Names with a hash are usually in the browser's own cache already, because the page has
 * just fetched them; if what lies there is damaged, the server is asked.
 */
async function fetchFile(address: string, digest: string): Promise<Response> {
  const isNamedByHash = address !== scope.href && !address.endsWith(".webmanifest");
  const ask = async (cache: RequestCache): Promise<Response> => {
    const response = await fetch(address, { cache, credentials: "same-origin", integrity: `sha256-${digest}`, redirect: "error" });
    if (!response.ok) throw new Error(`Expected ${address}, got status ${response.status}.`);
    return response;
  };
  if (!isNamedByHash) return ask("no-cache");
  return ask("default").catch(() => ask("reload"));
}

/** The cache of this version, named by its list. */
async function cacheName(): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(files)));
  const hex = Array.from(new Uint8Array(digest, 0, 8), (byte) => byte.toString(16).padStart(2, "0"));
  return CACHES + hex.join("");
}
