/**
 * Builds the reference of the API: `docs.html`, which the server serves at `/docs`, and files with the hash of their content
 * in their names, which lie with those of the app and are served at `/page/`. It shares no file of code with the app.
 */

import { defineConfig } from "vite";

const names = "docs-[hash]";

export default defineConfig({
  root: "docs",
  base: "./",
  publicDir: false,
  experimental: {
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `./page/${name}` : { relative: true }),
  },
  build: {
    // The app's own build empties the folder.
    emptyOutDir: false,
    assetsInlineLimit: 0,
    target: "es2022",
    sourcemap: false,
    modulePreload: false,
    reportCompressedSize: false,
    // Swagger UI comes as one file of 1.7 MB, compressed a quarter of that.
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: {
      input: "docs/docs.html",
      output: { entryFileNames: `${names}.js`, chunkFileNames: `${names}.js`, assetFileNames: `${names}[extname]` },
    },
  },
});
