/** Windows that ask. */

import { make, makeButton } from "../../../common/dom.js";
import { COMMON } from "../strings.js";
import { makeField, makeInput } from "./controls.js";

/** Open a window; it is removed when it is closed, and the focus returns. `onClose`: called then. */
export function openDialog(title: string, content: readonly Node[], onClose: () => void = () => {}): HTMLDialogElement {
  const heading = make("h2", "", title);
  heading.id = "dialog-title";
  const dialog = make("dialog", "", heading, ...content);
  dialog.setAttribute("aria-labelledby", heading.id);
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Close the windows that ask about a view that is left. A new key's window stays: closing it would lose the key. */
export function closeQuestions(): void {
  for (const dialog of document.querySelectorAll("dialog")) if (dialog.dataset["keeps"] === undefined) dialog.close();
}

/** `typed`: a name that must be typed first, for what cannot be undone. */
export interface Question {
  readonly title: string;
  readonly text: string;
  readonly action: string;
  readonly typed?: string;
}

/** Whether the operator confirms. */
export function confirmed({ title, text, action, typed }: Question): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = false;
    const form = make("form", "form", make("p", "", text));
    const input = makeInput("text", { autocapitalize: "off" });
    const submit = make("button", "button small danger", action);
    if (typed !== undefined) {
      form.append(makeField(COMMON.typeToConfirm(typed), input));
      submit.disabled = true;
      input.addEventListener("input", () => {
        submit.disabled = input.value !== typed;
      });
    }
    const cancel = makeButton(COMMON.cancel, () => dialog.close());
    cancel.classList.add("small");
    form.append(make("div", "row", submit, cancel));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer = true;
      dialog.close();
    });
    const dialog = openDialog(title, [form], () => resolve(answer));
    // Not on the button that destroys.
    (typed === undefined ? cancel : input).focus();
  });
}
