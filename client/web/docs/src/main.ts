/**
 * The reference of the API, made by Swagger UI from the server's own OpenAPI document. Requests that it sends go to the
 * server that this page came from, below the same path prefix. The key that is typed in stays in this page's memory.
 */

import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import "./style.css";
import { type ApiDocument, forThisServer } from "./document";

const ELEMENT = "reference";

async function show(): Promise<void> {
  followColourScheme();
  const server = new URL("./", document.baseURI);
  const answer = await fetch(new URL("openapi.json", server), { credentials: "omit" });
  if (!answer.ok) throw new Error(`Expected openapi.json from this server, got status ${answer.status}.`);
  SwaggerUI({
    spec: forThisServer((await answer.json()) as ApiDocument, server),
    dom_id: `#${ELEMENT}`,
    presets: [SwaggerUI.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    persistAuthorization: false,
    // None: the validator would be another host.
    validatorUrl: null,
  });
}

/** Swagger UI's dark colours apply below a class. */
function followColourScheme(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

show().catch((error: unknown) => {
  const note = document.createElement("p");
  note.className = "note";
  note.setAttribute("role", "alert");
  note.textContent = `The API’s description could not be loaded: ${error instanceof Error ? error.message : "no answer"} Reload the page to try again.`;
  document.getElementById(ELEMENT)?.replaceChildren(note);
});
