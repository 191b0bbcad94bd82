/** The choice of a gallery in the header; hidden if there is only one. */

import type { GalleryDescription } from "@askew/client";

import { find, make } from "./dom.js";

export class GalleryChoice {
  private readonly select = find<HTMLSelectElement>("gallery");

  constructor(onChoose: (name: string) => void) {
    this.select.addEventListener("change", () => onChoose(this.select.value));
  }

  show(galleries: readonly GalleryDescription[], chosen: GalleryDescription): void {
    const options = galleries.map(({ name }) => {
      const option = make("option", "", name);
      option.value = name;
      return option;
    });
    this.select.replaceChildren(...options);
    this.select.value = chosen.name;
    this.select.hidden = galleries.length < 2;
  }
}
