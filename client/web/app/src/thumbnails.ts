/** Photos of items. With a key they are fetched, because an address must not hold a key; some lie on this device. */

import { make } from "./dom.js";
import type { Session } from "./session.js";
import { RESULTS } from "./strings.js";

export interface Pictured {
  readonly id: string;
  readonly title: string;
  readonly hasPhoto: boolean;
  readonly photo?: (() => Blob | undefined) | undefined;
}

type ReadPhoto = (signal: AbortSignal) => Promise<Blob | undefined>;

interface Fetched {
  readonly stop: AbortController;
  url?: string;
}

export class Thumbnails {
  private readonly fetched = new Map<Element, Fetched>();
  private readonly pending = new Map<Element, () => void>();
  private readonly observer = new IntersectionObserver((entries) => this.fetchVisible(entries), {
    rootMargin: "300px",
  });

  constructor(private readonly session: Session) {}

  /** A frame with the photo of an item, or with its first letter if there is none. */
  make(item: Pictured): HTMLElement {
    const frame = make("div", "frame");
    if (!item.hasPhoto) {
      showPlaceholder(frame, item);
      return frame;
    }
    const image = make("img");
    image.alt = RESULTS.photoOf(item.title);
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("error", () => showPlaceholder(frame, item));
    const { client, gallery, key } = this.session;
    const { photo } = item;
    if (photo) this.showWhenVisible(frame, image, item, async () => photo());
    else if (key === undefined) image.src = photoAddress(gallery.name, item.id);
    else this.showWhenVisible(frame, image, item, (signal) => client.photo(gallery.name, item.id, signal));
    frame.append(image);
    return frame;
  }

  /** Free the fetched photos within an element, before its content is removed. */
  release(root: Element): void {
    for (const frame of root.querySelectorAll(".frame")) {
      this.observer.unobserve(frame);
      this.pending.delete(frame);
      const fetched = this.fetched.get(frame);
      fetched?.stop.abort();
      if (fetched?.url) URL.revokeObjectURL(fetched.url);
      this.fetched.delete(frame);
    }
  }

  private fetchVisible(entries: readonly IntersectionObserverEntry[]): void {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.observer.unobserve(target);
      this.pending.get(target)?.();
      this.pending.delete(target);
    }
  }

  private showWhenVisible(frame: Element, image: HTMLImageElement, item: Pictured, read: ReadPhoto): void {
    this.pending.set(frame, () => void this.fetch(frame, image, item, read));
    this.observer.observe(frame);
  }

  private async fetch(frame: Element, image: HTMLImageElement, item: Pictured, read: ReadPhoto): Promise<void> {
    const fetched: Fetched = { stop: new AbortController() };
    this.fetched.set(frame, fetched);
    try {
      const photo = await read(fetched.stop.signal);
      if (fetched.stop.signal.aborted) return;
      if (!photo) return showPlaceholder(frame, item);
      fetched.url = URL.createObjectURL(photo);
      image.src = fetched.url;
    } catch {
      // A photo that cannot be had is no reason for a banner.
      if (!fetched.stop.signal.aborted) showPlaceholder(frame, item);
    }
  }
}

function photoAddress(gallery: string, id: string): string {
  return `v1/galleries/${encodeURIComponent(gallery)}/items/${encodeURIComponent(id)}/photo`;
}

function showPlaceholder(frame: Element, { title }: Pictured): void {
  const letter = make("span", "letter", [...title][0] ?? "?");
  letter.setAttribute("role", "img");
  letter.setAttribute("aria-label", RESULTS.noPhoto(title));
  frame.replaceChildren(letter);
}
