/** The form that asks for the key of the server. */

import { find } from "./dom.js";

export class KeyForm {
  private readonly form = find<HTMLFormElement>("key-form");
  private readonly input = find<HTMLInputElement>("key-input");

  constructor(onKey: (key: string) => void) {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = this.input.value.trim();
      this.input.value = "";
      if (key) onKey(key);
    });
  }

  show(): void {
    this.form.hidden = false;
    this.input.focus();
  }

  hide(): void {
    this.form.hidden = true;
  }
}
