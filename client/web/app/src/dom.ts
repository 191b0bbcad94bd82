/** Finding and making elements, and filling index.html's texts. */

import { PAGE } from "./strings.js";

export { find, make, makeButton, makeFacts } from "../../common/dom.js";

/** Fill the elements that name a string (`data-text`) or an accessible name (`data-label`). */
export function fillTexts(): void {
  const text = (name: string | undefined) => PAGE[name as keyof typeof PAGE] ?? "";
  for (const element of document.querySelectorAll<HTMLElement>("[data-text]")) {
    element.textContent = text(element.dataset["text"]);
  }
  for (const element of document.querySelectorAll<HTMLElement>("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset["label"]));
  }
}
