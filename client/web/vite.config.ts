/**
 * Builds the app into the server's package: `index.html`, and files with the hash of their content in their names, in one
 * folder. The server serves the first at `/`, the others at `/page/`. Two builds of the same sources are equal to the byte.
 */

import { defaultClientConditions, defineConfig } from "vite";

import { installable } from "./service-worker/plugin.ts";

const LIBRARY = "askew-client";
const WORKER = "sw";

const names = {
  // The library keeps its name, because pages that are not built here import it; so does the service worker, because
  // browsers ask for a new version of it by its address.
  entryFileNames: ({ name }: { name: string }) => ([LIBRARY, WORKER].includes(name) ? `${name}.js` : "app-[hash].js"),
  chunkFileNames: "[name]-[hash].js",
  assetFileNames: "[name]-[hash][extname]",
};

export default defineConfig({
  root: "app",
  base: "./",
  publicDir: false,
  plugins: [installable("app")],
  experimental: {
    // Relative addresses work behind a path prefix, too. Files refer to each other within /page/.
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `./page/${name}` : { relative: true }),
  },
  // ONNX Runtime's WebAssembly stays a file of its own, at the address that the app gives to the engine.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  build: {
    outDir: "../../../server/askew_server/http/page",
    emptyOutDir: true,
    // The page's policy allows no data: addresses.
    assetsInlineLimit: 0,
    target: "es2022",
    sourcemap: false,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: {
      input: { index: "app/index.html", [LIBRARY]: "app/src/library.ts", [WORKER]: "service-worker/sw.ts" },
      preserveEntrySignatures: "exports-only",
      output: names,
    },
  },
  worker: { format: "es", rolldownOptions: { output: { ...names, entryFileNames: "[name]-[hash].js" } } },
});
