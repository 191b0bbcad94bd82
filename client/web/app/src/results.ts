/** The grid of items or hits, with its heading and the way back to what it showed before. */

import { type Entry, makeCard } from "./cards.js";
import { find } from "./dom.js";
import type { Thumbnails } from "./thumbnails.js";

/** What the grid shows. `state`: of the page while it is shown. */
export interface View {
  readonly state: "ready" | "found" | "nothing" | "waiting";
  readonly heading: string;
  /** The line under the heading, read out by screen readers. */
  readonly status: string;
  readonly entries: readonly Entry[];
  /** Whether a search without a threshold may find more. */
  readonly offersNearest?: boolean;
  /** Whether there is a further page of items. */
  readonly hasMore?: boolean;
}

export interface ResultsEvents {
  /** `opener`: the button that was pressed. */
  readonly onOpen: (entry: Entry, opener: HTMLElement) => void;
  readonly onNearest: () => void;
  readonly onMore: () => void;
  /** Called when an earlier view is shown again. */
  readonly onBack: (view: View) => void;
}

export class Results {
  private readonly section = find("results-section");
  private readonly heading = find("results-heading");
  private readonly status = find("results-status");
  private readonly grid = find("results");
  private readonly back = find<HTMLButtonElement>("back");
  private readonly nearest = find<HTMLButtonElement>("show-nearest");
  private readonly more = find<HTMLButtonElement>("show-more");
  /** The items of the gallery; undefined until they are read. */
  private base: View | undefined;
  /** What covers them: hits, and what is like one of them. The last one is shown. */
  private covers: View[] = [];

  constructor(
    private thumbnails: Thumbnails,
    private readonly events: ResultsEvents,
  ) {
    this.back.addEventListener("click", () => this.goBack());
    this.nearest.addEventListener("click", () => events.onNearest());
    this.more.addEventListener("click", () => events.onMore());
  }

  /** The items of a gallery: the view that every search returns to. A search that is shown stays. */
  setBase(view: View): void {
    this.base = view;
    if (this.covers.length === 0) this.render(view, false);
    else this.back.hidden = false;
  }

  /** Add a further page of items to the base view. */
  extendBase(view: View, added: readonly Entry[]): void {
    this.base = view;
    if (this.covers.length > 0) return;
    this.describe(view);
    const cards = added.map((entry) => this.makeCard(entry));
    this.grid.append(...cards);
    cards[0]?.querySelector("button")?.focus({ preventScroll: true });
  }

  /** The hits of a photo: they replace those of the photo before. */
  showHits(view: View, movesFocus: boolean): void {
    this.covers = [view];
    this.render(view, movesFocus);
  }

  /** A view on top of the one that is shown. */
  push(view: View): void {
    this.covers.push(view);
    this.render(view, true);
  }

  /** Remove the hits of an earlier photo; the items of the gallery are shown again. */
  dropHits(): void {
    if (this.covers.length === 0) return;
    this.covers = [];
    if (this.base) this.render(this.base, false);
    else this.section.hidden = true;
  }

  /** Remove everything: another gallery, or another key, was chosen. */
  clear(thumbnails: Thumbnails): void {
    this.dropCards();
    this.thumbnails = thumbnails;
    this.base = undefined;
    this.covers = [];
    this.section.hidden = true;
  }

  setBusy(isBusy: boolean): void {
    this.section.toggleAttribute("data-busy", isBusy);
    this.grid.setAttribute("aria-busy", String(isBusy));
  }

  private goBack(): void {
    this.covers.pop();
    const view = this.covers.at(-1) ?? this.base;
    if (!view) return;
    this.render(view, true);
    this.events.onBack(view);
  }

  private render(view: View, movesFocus: boolean): void {
    this.dropCards();
    this.section.hidden = false;
    this.describe(view);
    this.grid.append(...view.entries.map((entry) => this.makeCard(entry)));
    if (movesFocus) this.focusHeading();
  }

  private focusHeading(): void {
    this.heading.focus({ preventScroll: true });
    // On a phone the results begin under the photo, at the end of the screen or behind it.
    const { top } = this.heading.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 3) this.section.scrollIntoView({ block: "start" });
  }

  private describe(view: View): void {
    this.heading.textContent = view.heading;
    this.status.textContent = view.status;
    this.back.hidden = this.covers.length + (this.base ? 1 : 0) < 2;
    this.nearest.hidden = !view.offersNearest;
    this.more.hidden = !view.hasMore;
    this.grid.hidden = view.entries.length === 0;
  }

  private makeCard(entry: Entry): HTMLElement {
    return makeCard(entry, this.thumbnails, (opener) => this.events.onOpen(entry, opener));
  }

  private dropCards(): void {
    this.thumbnails.release(this.grid);
    this.grid.replaceChildren();
  }
}
