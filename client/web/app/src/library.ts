/**
 * `@askew/client` as one ready module, served at `page/askew-client.js`: other pages of this server import it without
 * npm. `ENGINE_FILES` names the engine's files that lie beside it.
 */

export * from "@askew/client";
export { ENGINE_FILES } from "./engine-files.js";
