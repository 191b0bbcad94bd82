/** Prepares a photo for the server: only the crop is sent, without metadata such as the place where it was taken. */

import { type Crop, DeviceError } from "@askew/client";

import { WHOLE } from "./crop-rectangle.js";

// Encoders shrink photos to less than this; browsers limit the area of a canvas.
const LONGEST_SIDE = 2560;

/** The photo, or a crop of it, as a new JPEG file. Throws DeviceError (unreadable-photo, out-of-memory). */
export async function cutPhoto(photo: Blob, crop: Crop = WHOLE): Promise<Blob> {
  const bitmap = await createImageBitmap(photo, { imageOrientation: "from-image" }).catch(() => {
    throw new DeviceError("unreadable-photo", "This browser cannot decode the photo. Choose another one.");
  });
  try {
    const width = Math.max(1, Math.round(crop.width * bitmap.width));
    const height = Math.max(1, Math.round(crop.height * bitmap.height));
    const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw outOfMemory();
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const [left, top] = [crop.left * bitmap.width, crop.top * bitmap.height];
    context.drawImage(bitmap, left, top, width, height, 0, 0, canvas.width, canvas.height);
    const cut = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (!cut) throw outOfMemory();
    return cut;
  } finally {
    bitmap.close();
  }
}

const outOfMemory = (): DeviceError =>
  new DeviceError("out-of-memory", "This device has too little memory for the photo. Choose a smaller one.");
