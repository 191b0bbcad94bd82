/** The geometry of a crop, in shares of the photo's width and height. */

import type { Crop } from "@askew/client";

/** The smallest share of a side that a crop keeps. */
export const LEAST_SHARE = 0.05;

export interface Point {
  readonly x: number;
  readonly y: number;
}

export const WHOLE: Crop = { left: 0, top: 0, width: 1, height: 1 };

/** The crop that the Crop button starts with. */
export const CENTRE: Crop = { left: 0.15, top: 0.15, width: 0.7, height: 0.7 };

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

/** The crop between two opposite corners; never smaller than the least share. */
export function spanCrop(one: Point, other: Point): Crop {
  const across = spanSide(one.x, other.x);
  const down = spanSide(one.y, other.y);
  return { left: across.start, top: down.start, width: across.length, height: down.length };
}

function spanSide(one: number, other: number): { start: number; length: number } {
  const [from, to] = [clamp(Math.min(one, other), 0, 1), clamp(Math.max(one, other), 0, 1)];
  const length = Math.max(LEAST_SHARE, to - from);
  return { start: Math.min(from, 1 - length), length };
}

/** A crop moved within the photo. */
export function moveCrop(crop: Crop, x: number, y: number): Crop {
  return {
    ...crop,
    left: clamp(crop.left + x, 0, 1 - crop.width),
    top: clamp(crop.top + y, 0, 1 - crop.height),
  };
}

/** A crop whose right and bottom sides were moved. */
export function resizeCrop(crop: Crop, x: number, y: number): Crop {
  return {
    ...crop,
    width: clamp(crop.width + x, LEAST_SHARE, 1 - crop.left),
    height: clamp(crop.height + y, LEAST_SHARE, 1 - crop.top),
  };
}

/** The corner opposite to the one at a side (`x`, `y`: 0 for left or top, 1 for right or bottom). */
export function oppositeCorner(crop: Crop, x: number, y: number): Point {
  return { x: crop.left + (1 - x) * crop.width, y: crop.top + (1 - y) * crop.height };
}
