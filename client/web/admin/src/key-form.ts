/** The form that asks for the operator's key. */

import { make } from "../../common/dom.js";
import { makeField, makeInput } from "./parts/controls.js";
import type { Access } from "./session.js";
import { ACCESS } from "./strings.js";

/** `refused`: the key before, and why the server did not take it. */
export function makeKeyForm(
  refused: (Access & { kind: "refused" }) | undefined,
  onKey: (key: string) => void,
): { readonly element: HTMLElement; readonly input: HTMLInputElement } {
  const input = makeInput("password", { autocapitalize: "off", required: "" });
  const form = make(
    "form",
    "form",
    makeField(ACCESS.keyLabel, input, ACCESS.keyHint),
    make("div", "row", make("button", "button small primary", ACCESS.keySubmit)),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value.trim();
    input.value = "";
    if (key) onKey(key);
  });
  const element = make("section", "panel key-panel", make("h1", "", ACCESS.keyHeading));
  if (refused) {
    const reason = refused.scopes ? ACCESS.keyWithoutAdmin(refused.scopes) : refused.problem.message;
    const panel = make("div", "notice", make("strong", "", ACCESS.keyRefused), make("p", "", reason));
    panel.setAttribute("role", "alert");
    element.append(panel);
  }
  element.append(form);
  return { element, input };
}
