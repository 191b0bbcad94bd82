/** Verifying an encoder file by the SHA-256 that the server states. */

export type Sha256 = (bytes: Uint8Array) => Promise<Uint8Array>;

/** The file holds its own SHA-256, computed with those 64 digits set to `0`. Throws Error if the file differs. */
export async function verify(file: Uint8Array, sha256: string, hash: Sha256): Promise<void> {
  const place = find(file, sha256);
  if (place >= 0) {
    const unsealed = file.slice();
    unsealed.fill(0x30, place, place + sha256.length);
    const digest = await hash(unsealed);
    const digits = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (digits === sha256) return;
  }
  throw new Error(`Expected an encoder file with SHA-256 ${sha256.slice(0, 12)}…, got another one. Fetch it again.`);
}

function find(file: Uint8Array, text: string): number {
  const wanted = Uint8Array.from(text, (character) => character.charCodeAt(0));
  for (let from = file.indexOf(wanted[0]!); from >= 0; from = file.indexOf(wanted[0]!, from + 1)) {
    if (wanted.every((byte, place) => file[from + place] === byte)) return from;
  }
  return -1;
}
