/** Photos of items. With a key they are fetched, because an address must not hold a key. */

import { make } from "../../../common/dom.js";
import type { Api } from "../api/index.js";
import { ITEMS } from "../strings.js";
import { whenThereIsRoom } from "./waiting.js";

export class Photos {
  /** `hasKey`: whether the server asks for a key. */
  constructor(
    private readonly api: Api,
    private readonly hasKey: boolean,
  ) {}

  /** A frame with the photo of an item, fetched when it comes near the screen; freed when `signal` ends. */
  make(gallery: string, id: string, hasPhoto: boolean, signal: AbortSignal): HTMLElement {
    const frame = make("div", "frame");
    if (!hasPhoto) {
      showPlaceholder(frame, ITEMS.noPhoto);
      return frame;
    }
    const image = make("img");
    image.alt = ITEMS.photoOf(id);
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("error", () => showPlaceholder(frame, ITEMS.photoUnreadable));
    frame.append(image);
    if (this.hasKey) this.fetchWhenNear(frame, image, gallery, id, signal);
    else this.showByAddress(frame, image, gallery, id);
    return frame;
  }

  private showByAddress(frame: HTMLElement, image: HTMLImageElement, gallery: string, id: string): void {
    try {
      image.src = this.api.items.photoAddress(gallery, id).href;
    } catch {
      // An id that no address can hold.
      showPlaceholder(frame, ITEMS.photoUnreadable);
    }
  }

  private fetchWhenNear(frame: HTMLElement, image: HTMLImageElement, gallery: string, id: string, signal: AbortSignal): void {
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        observer.disconnect();
        void this.fetch(frame, image, gallery, id, signal);
      },
      { rootMargin: "300px" },
    );
    observer.observe(frame);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  private async fetch(
    frame: HTMLElement,
    image: HTMLImageElement,
    gallery: string,
    id: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const photo = await whenThereIsRoom(() => this.api.items.photo(gallery, id, signal), signal);
      const url = URL.createObjectURL(photo);
      signal.addEventListener("abort", () => URL.revokeObjectURL(url));
      image.src = url;
    } catch {
      // A photo that cannot be had is no reason for a panel.
      if (!signal.aborted) showPlaceholder(frame, ITEMS.photoUnreadable);
    }
  }
}

function showPlaceholder(frame: HTMLElement, text: string): void {
  frame.replaceChildren(make("span", "hint", text));
}
