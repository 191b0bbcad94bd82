/**
 * The part of the build that makes the app installable: `manifest.webmanifest` with the icons, and in `sw.js` the list of
 * the files that the app needs to start without a network, each with its SHA-256.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const PAGE = "index.html";
const WORKER = "sw.js";
const MANIFEST = "manifest.webmanifest";
/** What stands in the worker's source in the place of the list. */
const PLACEHOLDER = "__APP_FILES__";
const ICONS = [
  { file: "icon-192.png", sizes: "192x192", purpose: "any" },
  { file: "icon-512.png", sizes: "512x512", purpose: "any" },
  { file: "maskable-192.png", sizes: "192x192", purpose: "maskable" },
  { file: "maskable-512.png", sizes: "512x512", purpose: "maskable" },
] as const;

/** `app`: the folder of index.html, with the folder `icons`. */
export function installable(app: string): Plugin {
  let icons = new Map<string, string>();
  return {
    name: "askew-installable",
    apply: "build",
    enforce: "post",
    buildStart() {
      const emit = (file: string) =>
        this.emitFile({ type: "asset", name: file, source: readFileSync(join(app, "icons", file)) });
      icons = new Map(ICONS.map(({ file }) => [file, emit(file)]));
    },
    transformIndexHtml: {
      order: "post",
      handler(_, { filename }) {
        if (!filename.endsWith(PAGE)) return [];
        return [{ tag: "link", attrs: { rel: "manifest", href: `./page/${MANIFEST}` }, injectTo: "head" }];
      },
    },
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const files = new Map<string, string | Uint8Array>();
        for (const [name, file] of Object.entries(bundle)) files.set(name, file.type === "chunk" ? file.code : file.source);
        const manifest = writeManifest((file) => this.getFileName(icons.get(file)!));
        files.set(MANIFEST, manifest);
        this.emitFile({ type: "asset", fileName: MANIFEST, source: manifest });
        const worker = bundle[WORKER];
        const html = files.get(PAGE);
        if (worker?.type !== "chunk" || html === undefined) this.error(`Expected ${PAGE} and ${WORKER} in the build.`);
        if (!worker.code.includes(PLACEHOLDER)) this.error(`Expected ${PLACEHOLDER} in ${WORKER}.`);
        const list = listFiles(files);
        worker.code = worker.code.replace(PLACEHOLDER, () => JSON.stringify(list));
      },
    },
  };
}

function writeManifest(nameOf: (icon: string) => string): string {
  const manifest = {
    name: "Askew",
    description: "Search a gallery with a photo that stays on your device.",
    // Relative to this file, which lies in page/: the app works behind a path prefix, too.
    start_url: "../",
    scope: "../",
    display: "standalone",
    background_color: "#faf9f7",
    theme_color: "#0f766e",
    icons: ICONS.map(({ file, purpose, sizes }) => ({ src: nameOf(file), sizes, type: "image/png", purpose })),
  };
  return `${JSON.stringify(manifest, null, 1)}\n`;
}

/**
 * Addresses relative to the app's own, with SHA-256 in base64, sorted: index.html, the files that it names, those that they
 * name, and so on. Other pages of the same build, and what only they need, are left out.
 */
function listFiles(files: ReadonlyMap<string, string | Uint8Array>): [address: string, digest: string][] {
  const reached = new Set([PAGE]);
  // A set's iteration includes what is added meanwhile.
  for (const name of reached) {
    const content = files.get(name)!;
    if (!/\.(html|m?js|css|webmanifest)$/.test(name)) continue;
    const text = typeof content === "string" ? content : Buffer.from(content).toString();
    for (const other of files.keys()) if (text.includes(other) && other !== WORKER) reached.add(other);
  }
  return [...reached].sort().map((name) => {
    const digest = createHash("sha256").update(files.get(name)!).digest("base64");
    return [name === PAGE ? "./" : `page/${name}`, digest];
  });
}
