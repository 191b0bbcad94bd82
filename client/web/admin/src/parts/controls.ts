/** Buttons, fields and links. */

import { make } from "../../../common/dom.js";
import { formatTime } from "../numbers.js";
import type { Notices } from "./notices.js";

type Tone = "" | "primary" | "danger" | "quiet";

/** A button whose action takes a moment: it cannot be pressed meanwhile, and a failure is shown. */
export function makeAction(
  text: string,
  notices: Notices,
  action: () => Promise<void> | void,
  tone: Tone = "",
): HTMLButtonElement {
  const button = make("button", `button small ${tone}`.trim(), text);
  button.type = "button";
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    // A disabled button would lose the focus.
    button.setAttribute("aria-disabled", "true");
    void notices.guard(action).finally(() => button.removeAttribute("aria-disabled"));
  });
  return button;
}

export function makeLink(text: string | Node, fragment: string, className = ""): HTMLAnchorElement {
  const link = make("a", className, text);
  link.href = fragment;
  return link;
}

/** A label above its control, with a hint below it. */
export function makeField(label: string, control: HTMLElement, hint = ""): HTMLElement {
  control.id ||= `field-${Math.random().toString(36).slice(2, 12)}`;
  const name = make("label", "", label);
  name.htmlFor = control.id;
  const field = make("div", "field", name, control);
  if (hint) {
    const text = make("p", "hint", hint);
    text.id = `${control.id}-hint`;
    control.setAttribute("aria-describedby", text.id);
    field.append(text);
  }
  return field;
}

export function makeInput(type: string, attributes: Readonly<Record<string, string>> = {}): HTMLInputElement {
  const input = make("input");
  input.type = type;
  input.autocomplete = "off";
  input.spellcheck = false;
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
  return input;
}

export function makeSelect(choices: readonly (readonly [value: string, text: string])[], chosen = ""): HTMLSelectElement {
  const select = make("select");
  for (const [value, text] of choices) {
    const option = make("option", "", text);
    option.value = value;
    option.selected = value === chosen;
    select.append(option);
  }
  return select;
}

/** A form whose submission takes a moment; a failure is shown. */
export function makeForm(
  notices: Notices,
  submitText: string,
  submit: () => Promise<void> | void,
  ...content: Node[]
): HTMLFormElement {
  const button = make("button", "button small primary", submitText);
  const form = make("form", "form", ...content, make("div", "row", button));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    void notices.guard(submit).finally(() => button.removeAttribute("aria-disabled"));
  });
  return form;
}

/** Figures in a row: a large value over its name. */
export function makeTiles(tiles: readonly (readonly [name: string, value: string])[]): HTMLElement {
  const list = make("dl", "tiles");
  for (const [name, value] of tiles) list.append(make("div", "tile", make("dt", "", name), make("dd", "", value)));
  return list;
}

/** A value with its meaning by colour and word. */
export const makeBadge = (text: string, tone: "" | "good" | "bad" | "busy" = ""): HTMLElement =>
  make("span", `badge ${tone}`.trim(), text);

/** A time of the server, in the operator's own time zone. */
export function makeTime(text: string): HTMLTimeElement {
  const time = make("time", "time", formatTime(text));
  time.dateTime = text;
  return time;
}

export function makePanel(heading: string, ...content: (Node | string)[]): HTMLElement {
  return make("section", "panel", make("h2", "", heading), ...content);
}

export const makeHint = (text: string): HTMLElement => make("p", "hint", text);
