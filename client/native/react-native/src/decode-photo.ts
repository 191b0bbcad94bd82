/** Decoding a photo file: Skia applies the EXIF orientation. */

import { AlphaType, ColorType, Skia } from "@shopify/react-native-skia";

import type { Pixels } from "./golden-picture.ts";
import { toPixels } from "./pixels.ts";

/** Decode a photo at `uri`. Throws Error if it is none. */
export async function decodePhoto(uri: string, photoSize: number): Promise<Pixels> {
  const image = Skia.Image.MakeImageFromEncoded(await Skia.Data.fromURI(uri));
  if (!image) throw new Error("Expected a JPEG, PNG or WebP photo, got a file that cannot be decoded.");
  const [width, height] = [image.width(), image.height()];
  // Skia decodes when pixels are read, not before.
  if (width * height > 64_000_000) {
    image.dispose();
    throw new Error(`Expected a photo of at most 64 megapixels, got ${width} × ${height} px. Shrink it.`);
  }
  const rgba = image.readPixels(0, 0, { width, height, colorType: ColorType.RGBA_8888, alphaType: AlphaType.Unpremul });
  image.dispose();
  if (!(rgba instanceof Uint8Array)) throw new Error("The photo's pixels cannot be read.");
  return toPixels(rgba, width, height, photoSize);
}
