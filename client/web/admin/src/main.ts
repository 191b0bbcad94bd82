/** Starts the operator's view: the key first, then what the address names. */

import "./style.css";

import { Admin } from "./admin.js";

const admin = new Admin(document.baseURI);
window.addEventListener("hashchange", () => void admin.show());
void admin.start();

for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => {
    // A file dropped beside its place would open instead of this page; a file input takes it itself.
    if (!(event.target instanceof HTMLInputElement)) event.preventDefault();
  });
}
