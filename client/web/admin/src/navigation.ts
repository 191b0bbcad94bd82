/** The links to the views. */

import { makeLink } from "./parts/controls.js";
import { type Route, routeTo } from "./route.js";
import { NAVIGATION, SHELL } from "./strings.js";

export function fillNavigation(nav: HTMLElement): void {
  nav.setAttribute("aria-label", SHELL.navigation);
  for (const [name, text] of Object.entries(NAVIGATION)) {
    const link = makeLink(text, routeTo([name]));
    link.dataset["view"] = name;
    nav.append(link);
  }
}

export function markNavigation(nav: HTMLElement, { parts }: Route): void {
  for (const link of nav.querySelectorAll("a")) {
    const isCurrent = link.dataset["view"] === (parts[0] ?? "galleries");
    if (isCurrent) link.setAttribute("aria-current", parts.length > 1 ? "true" : "page");
    else link.removeAttribute("aria-current");
  }
}
