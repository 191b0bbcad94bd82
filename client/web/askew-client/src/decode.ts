/**
 * Decodes a photo to the pixels that an encoder takes, by the rules of docs/encoder.md: EXIF orientation applied, ICC
 * profile ignored, alpha blended with white. Nothing is resized by the canvas: its scaling differs between browsers.
 */

import { DeviceError } from "./failures.js";
import { readPhotoSize } from "./photo-header.js";
import { PixelReader, type Pixels } from "./pixels.js";
import { MAX_PIXELS, type Size, capFactor, isTooThin } from "./size-rule.js";

/** A part of a photo as its shares: 0 to 1 of its width and height, after rotation. */
export interface Crop {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

// Browsers limit the area of a canvas (16.7 million pixels on iOS), so it holds only some rows at a time.
const PIXELS_PER_STRIP = 1_000_000;

/**
 * Decode a photo, or a crop of it. Large photos are shrunk by the cap rule (`capFactor`).
 *
 * `photo`: a JPEG, PNG or WebP file, or another kind that this browser decodes. Throws DeviceError (unreadable-photo,
 * photo-too-large, photo-too-thin, out-of-memory).
 */
export async function decodePhoto(photo: Blob, photoSize: number, crop?: Crop): Promise<Pixels> {
  if (photo.size === 0) throw new DeviceError("unreadable-photo", "The photo is empty (0 bytes). Choose another one.");
  const stated = await readStatedSize(photo);
  if (stated) refuseTooLarge(stated);
  const bitmap = await decodeBitmap(photo);
  try {
    refuseTooLarge(bitmap);
    return readPixels(bitmap, photoSize, crop);
  } finally {
    bitmap.close();
  }
}

/** Whether a photo's header states more pixels than are allowed. A photo that cannot be read is not too large. */
export async function isPhotoTooLarge(photo: Blob): Promise<boolean> {
  const stated = await readStatedSize(photo).catch(() => undefined);
  return stated !== undefined && stated.width * stated.height > MAX_PIXELS;
}

/** The size that a photo's header states. The header of a JPEG may stand behind large metadata. */
async function readStatedSize(photo: Blob): Promise<Size | undefined> {
  return readPhotoSize(new Uint8Array(await photo.slice(0, 4_000_000).arrayBuffer()));
}

async function decodeBitmap(photo: Blob): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(photo, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch (error) {
    if (error instanceof RangeError) throw outOfMemory();
    throw new DeviceError(
      "unreadable-photo",
      "This browser cannot decode the photo. Expected a whole JPEG, PNG or WebP file. Choose another one.",
    );
  }
}

function readPixels(source: ImageBitmap, photoSize: number, crop: Crop | undefined): Pixels {
  const area = cropArea(source, crop);
  if (isTooThin(area, photoSize)) {
    throw new DeviceError(
      "photo-too-thin",
      `Expected a photo whose shorter side is at least 32 pixels at this encoder's photo size, got ${area.width} × ` +
        `${area.height} pixels. Choose a larger part of the photo.`,
    );
  }
  const factor = capFactor(area, photoSize);
  const reader = new PixelReader(area, factor);
  const rows = Math.max(1, Math.floor(PIXELS_PER_STRIP / area.width / factor)) * factor;
  const context = openCanvas(area.width, Math.min(rows, area.height));
  for (let top = 0; top < area.height; top += rows) {
    const height = Math.min(rows, area.height - top);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, area.width, height);
    const [x, y] = [area.left, area.top + top];
    context.drawImage(source, x, y, area.width, height, 0, 0, area.width, height);
    reader.take(context.getImageData(0, 0, area.width, height).data);
  }
  return reader.finish();
}

function openCanvas(width: number, height: number): OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D {
  const options = { alpha: false, willReadFrequently: true } as const;
  const canvas =
    typeof OffscreenCanvas === "undefined"
      ? Object.assign(document.createElement("canvas"), { width, height })
      : new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", options) as OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D | null;
  if (!context) throw outOfMemory();
  context.imageSmoothingEnabled = false;
  return context;
}

function cropArea(whole: Size, crop: Crop | undefined): Size & { left: number; top: number } {
  if (!crop) return { left: 0, top: 0, width: whole.width, height: whole.height };
  const within = (value: number, most: number) => Math.min(most, Math.max(0, Math.round(value)));
  const left = within(crop.left * whole.width, whole.width - 1);
  const top = within(crop.top * whole.height, whole.height - 1);
  const width = Math.max(1, within((crop.left + crop.width) * whole.width, whole.width) - left);
  const height = Math.max(1, within((crop.top + crop.height) * whole.height, whole.height) - top);
  return { left, top, width, height };
}

function refuseTooLarge({ width, height }: Size): void {
  if (width * height <= MAX_PIXELS) return;
  throw new DeviceError(
    "photo-too-large",
    `The photo has ${width} × ${height} = ${((width * height) / 1e6).toFixed(1)} megapixels; at most ` +
      `${MAX_PIXELS / 1e6} are allowed. Shrink it, or choose another one.`,
  );
}

function outOfMemory(): DeviceError {
  return new DeviceError("out-of-memory", "This device has too little memory for the photo. Choose a smaller one.");
}
