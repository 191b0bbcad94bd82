/** The photo with a crop that people draw, move and resize with touch, mouse or keyboard. */

import type { Crop } from "@askew/client";

import { CENTRE, type Point, WHOLE, moveCrop, oppositeCorner, resizeCrop, spanCrop } from "./crop-rectangle.js";
import { find } from "./dom.js";
import { CROP } from "./strings.js";

const KEY_STEP = 0.02;
// Fingers tremble: a shorter drag is a tap.
const DRAG_PIXELS = 8;

const ARROWS: ReadonlyMap<string, Point> = new Map([
  ["ArrowLeft", { x: -1, y: 0 }],
  ["ArrowRight", { x: 1, y: 0 }],
  ["ArrowUp", { x: 0, y: -1 }],
  ["ArrowDown", { x: 0, y: 1 }],
]);

/** `apply`: the crop for a place of the pointer. `x`, `y`: where it was pressed, in pixels of the window. */
interface Drag {
  readonly apply: (at: Point) => Crop;
  readonly x: number;
  readonly y: number;
  isMoving: boolean;
}

export class CropFrame {
  private readonly frame = find("photo-frame");
  private readonly layer = find("crop-layer");
  private readonly rectangle = find("crop");
  private readonly wholePhoto = find<HTMLButtonElement>("whole-photo");
  private readonly start = find<HTMLButtonElement>("start-crop");
  private crop: Crop | undefined;
  private drag: Drag | undefined;

  /** `onChange`: called after each change that a person made. */
  constructor(private readonly onChange: () => void) {
    this.layer.addEventListener("pointerdown", (event) => this.beginDrag(event));
    this.layer.addEventListener("pointermove", (event) => this.continueDrag(event));
    for (const end of ["pointerup", "pointercancel"]) this.layer.addEventListener(end, () => (this.drag = undefined));
    this.rectangle.addEventListener("keydown", (event) => this.pressKey(event));
    this.start.addEventListener("click", () => {
      this.change(CENTRE);
      this.rectangle.focus();
    });
    this.wholePhoto.addEventListener("click", () => this.clear());
  }

  /** The crop; undefined for the whole photo. */
  get value(): Crop | undefined {
    return this.crop;
  }

  /** Back to the whole photo, without a call of `onChange`: a new photo was taken. */
  reset(): void {
    this.set(undefined);
  }

  private clear(): void {
    this.change(undefined);
    this.start.focus();
  }

  private change(crop: Crop | undefined): void {
    this.set(crop);
    this.onChange();
  }

  private set(crop: Crop | undefined): void {
    this.crop = crop;
    this.frame.classList.toggle("cropping", crop !== undefined);
    this.rectangle.hidden = this.wholePhoto.hidden = crop === undefined;
    this.start.hidden = crop !== undefined;
    const { height, left, top, width } = crop ?? WHOLE;
    const percent = (share: number) => `${(100 * share).toFixed(3)}%`;
    // A photo is not mirrored in right-to-left pages, so its sides are physical.
    Object.assign(this.rectangle.style, {
      left: percent(left),
      top: percent(top),
      width: percent(width),
      height: percent(height),
    });
    const rounded = [left, top, width, height].map((share) => Math.round(100 * share));
    this.rectangle.setAttribute("aria-label", CROP.name(...(rounded as [number, number, number, number])));
  }

  private beginDrag(event: PointerEvent): void {
    // Without a crop, a finger on the photo scrolls the page.
    if (event.button !== 0 || (event.pointerType === "touch" && !this.crop)) return;
    const start = this.pointAt(event);
    const apply = this.chooseDrag(event.target, start);
    this.drag = { apply, x: event.clientX, y: event.clientY, isMoving: false };
    this.layer.setPointerCapture(event.pointerId);
  }

  /** What a drag does: pull a corner, move the crop, or draw a new one. */
  private chooseDrag(target: EventTarget | null, start: Point): (at: Point) => Crop {
    const crop = this.crop;
    const corner = target instanceof HTMLElement ? target.dataset["corner"] : undefined;
    if (crop && corner) {
      const fixed = oppositeCorner(crop, corner.includes("right") ? 1 : 0, corner.includes("bottom") ? 1 : 0);
      return (at) => spanCrop(fixed, at);
    }
    if (crop && target === this.rectangle) return (at) => moveCrop(crop, at.x - start.x, at.y - start.y);
    return (at) => spanCrop(start, at);
  }

  private continueDrag(event: PointerEvent): void {
    const { drag } = this;
    if (!drag) return;
    drag.isMoving ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) >= DRAG_PIXELS;
    if (drag.isMoving) this.change(drag.apply(this.pointAt(event)));
  }

  private pointAt(event: PointerEvent): Point {
    const box = this.layer.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  private pressKey(event: KeyboardEvent): void {
    if (!this.crop) return;
    const arrow = ARROWS.get(event.key);
    if (arrow) {
      const act = event.shiftKey ? resizeCrop : moveCrop;
      this.change(act(this.crop, arrow.x * KEY_STEP, arrow.y * KEY_STEP));
    } else if (event.key === "Escape") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }
}
