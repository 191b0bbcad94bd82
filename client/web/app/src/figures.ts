/** The line of figures under the photo: what the search cost, and who described the photo. */

import { find } from "./dom.js";
import { formatCount, formatMilliseconds, shortenSpace } from "./format.js";
import type { Found } from "./photo-search.js";
import { FIGURES } from "./strings.js";

/** `photoBytes`: the size of the photo, which would have been sent without an encoder on the device. */
export function showFigures({ answer, describing, encoder, inPack }: Found, photoBytes: number): void {
  const searching = formatMilliseconds(answer.milliseconds);
  const sent = formatCount(answer.bytesSent);
  find("figures-costs").textContent =
    describing === undefined
      ? FIGURES.onServer(searching, sent)
      : inPack
        ? FIGURES.inPack(formatMilliseconds(describing), searching)
        : FIGURES.onDevice(formatMilliseconds(describing), searching, sent, formatCount(photoBytes));
  const line = find("figures-encoder");
  line.textContent = encoder ? FIGURES.encoder(encoder, shortenSpace(answer.space)) : "";
  line.title = encoder ? FIGURES.encoder(encoder, answer.space) : "";
  const figures = find("figures");
  figures.dataset["bytesSent"] = String(answer.bytesSent);
  figures.dataset["encoder"] = encoder ?? "";
  figures.dataset["describedBy"] = describing === undefined ? "server" : "device";
  figures.dataset["searchedBy"] = inPack ? "device" : "server";
  figures.hidden = false;
}

export function hideFigures(): void {
  find("figures").hidden = true;
}
