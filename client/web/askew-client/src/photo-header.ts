/** Reads the kind and size of a JPEG, PNG or WebP file from its first bytes, so that a huge photo is not decoded. */

import type { Size } from "./size-rule.js";

/** The size that a photo's header states, before EXIF rotation; undefined if it is not one of these kinds. */
export function readPhotoSize(bytes: Uint8Array): Size | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (matches(bytes, 0, "\x89PNG\r\n\x1a\n")) return { width: view.getUint32(16), height: view.getUint32(20) };
    if (matches(bytes, 0, "RIFF") && matches(bytes, 8, "WEBP")) return readWebpSize(view, bytes);
    if (matches(bytes, 0, "\xff\xd8\xff")) return readJpegSize(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return undefined;
}

function readWebpSize(view: DataView, bytes: Uint8Array): Size | undefined {
  if (matches(bytes, 12, "VP8X")) {
    const uint24 = (at: number) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
    return { width: uint24(24) + 1, height: uint24(27) + 1 };
  }
  if (matches(bytes, 12, "VP8L")) {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  if (matches(bytes, 12, "VP8 ")) {
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  }
  return undefined;
}

function readJpegSize(view: DataView): Size | undefined {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) return undefined;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    // SOF0 to SOF15, without DHT (C4), JPG (C8) and DAC (CC).
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    }
    if (marker === 0xd9 || marker === 0xda) return undefined;
    const hasLength = !(marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8));
    at += 2 + (hasLength ? view.getUint16(at + 2) : 0);
  }
}

function matches(bytes: Uint8Array, at: number, text: string): boolean {
  for (let place = 0; place < text.length; place++) if (bytes[at + place] !== text.charCodeAt(place)) return false;
  return true;
}
