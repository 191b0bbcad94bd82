/** The dialog with everything about one item. */

import { type Entry, makeCredits, makeScore } from "./cards.js";
import { find, makeFacts } from "./dom.js";
import { otherFields, titleOf } from "./payload.js";
import type { Thumbnails } from "./thumbnails.js";

export class Details {
  private readonly dialog = find<HTMLDialogElement>("details");
  private entry: Entry | undefined;
  private opener: HTMLElement | undefined;
  private thumbnails: Thumbnails | undefined;

  /** `onSimilar`: called with the item that more like it is asked for. */
  constructor(onSimilar: (entry: Entry) => void) {
    find("details-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      // The dialog's content covers it: only its backdrop is the dialog itself.
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("close", () => this.finish());
    find("more-like-this").addEventListener("click", () => {
      const { entry } = this;
      this.opener = undefined;
      this.dialog.close();
      if (entry) onSimilar(entry);
    });
  }

  /** `opener`: gets the focus back when the dialog closes. */
  show(entry: Entry, thumbnails: Thumbnails, opener: HTMLElement): void {
    const title = titleOf(entry);
    this.entry = entry;
    this.opener = opener;
    this.thumbnails = thumbnails;
    find("details-title").textContent = title;
    find("details-title").dir = "auto";
    find("details-photo").replaceChildren(thumbnails.make({ ...entry, title }));
    find("details-facts").replaceChildren(
      ...(entry.score === undefined ? [] : [makeScore(entry.score)]),
      ...makeCredits(entry.payload, title),
    );
    const fields = otherFields(entry.payload);
    find("details-fields").replaceChildren(...makeFacts(fields));
    find("details-fields").hidden = fields.length === 0;
    this.dialog.dataset["id"] = entry.id;
    this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  private finish(): void {
    const photo = find("details-photo");
    this.thumbnails?.release(photo);
    photo.replaceChildren();
    this.opener?.focus({ preventScroll: true });
    this.opener = this.entry = undefined;
  }
}
