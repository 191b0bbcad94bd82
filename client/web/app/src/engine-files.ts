/** Where the build puts ONNX Runtime's two files. */

import type { EngineFiles } from "@askew/client";
import module from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

const absolute = (address: string): string => new URL(address, document.baseURI).href;

export const ENGINE_FILES: EngineFiles = { module: absolute(module), wasm: absolute(wasm) };
