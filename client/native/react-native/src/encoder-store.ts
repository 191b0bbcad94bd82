/** Fetches the encoder that fits this phone, once, and keeps it in the app's folder. */

import * as Crypto from "expo-crypto";
import { File, Paths } from "expo-file-system";
import { Platform } from "react-native";

import { type AskewServer, ServerProblem } from "./api.ts";
import { verify } from "./digest.ts";
import { Encoder, type Manifest } from "./encoder.ts";

const sha256 = async (bytes: Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await Crypto.digest(Crypto.CryptoDigestAlgorithm.SHA256, bytes as Uint8Array<ArrayBuffer>));

interface Kept {
  readonly sha256: string;
  readonly manifest: Manifest;
}

/** What the last start noted; undefined if a crash left half of it. */
async function readNote(note: File): Promise<Kept | undefined> {
  try {
    return note.exists ? (JSON.parse(await note.text()) as Kept) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The encoder of a gallery, ready to describe. Without a network, the one that was kept last; if the server refuses,
 * ServerProblem is thrown. One encoder is kept: an app with several galleries needs a note for each.
 */
export async function openEncoder(server: AskewServer): Promise<Encoder> {
  const note = new File(Paths.document, "askew-encoder.json");
  let kept = await readNote(note);
  const best = await server.bestEncoder(Platform.OS === "ios" ? "ios" : "android").catch((error: unknown) => {
    if (kept && !(error instanceof ServerProblem)) return undefined;
    throw error;
  });
  const digest = best?.sha256 ?? kept!.sha256;
  const file = new File(Paths.document, `askew-${digest}.onnx`);
  const intact = file.exists && (await verify(await file.bytes(), digest, sha256).then(() => true, () => false));
  if (!intact || kept?.sha256 !== digest) {
    if (!best) throw new Error("The kept encoder is damaged. Connect to the network to fetch it again.");
    if (!intact) {
      const bytes = await server.encoderFile(best.id);
      await verify(bytes, digest, sha256);
      file.write(bytes);
    }
    const old = kept && kept.sha256 !== digest ? new File(Paths.document, `askew-${kept.sha256}.onnx`) : undefined;
    kept = { sha256: digest, manifest: await server.manifest(best.id) };
    note.write(JSON.stringify(kept));
    if (old?.exists) old.delete();
  }
  return Encoder.open(file.uri.replace("file://", ""), kept.manifest);
}
