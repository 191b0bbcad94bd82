/**
 * Builds the operator's view: `admin.html`, which the server serves at `/admin`, and files with the hash of their content
 * in their names, which lie with those of the app and are served at `/page/`. It shares no file of code with the app.
 */

import { defineConfig } from "vite";

const names = "[name]-[hash]";

export default defineConfig({
  root: "admin",
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
    rolldownOptions: {
      input: "admin/admin.html",
      output: { entryFileNames: `${names}.js`, chunkFileNames: `${names}.js`, assetFileNames: `${names}[extname]` },
    },
  },
});
