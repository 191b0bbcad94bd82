/** Starts the operator's view: the key first, then what the address names. */

import "./style.css";

import { Admin } from "./admin.js";

const admin = new Admin(document.baseURI);
window.addEventListener("hashchange", () => void admin.show());
void admin.start();
