/** The bar and the line that tell how far the encoder is. Screen readers hear only the start and the end. */

import { find } from "./dom.js";
import type { LoadingStage } from "./encoder-loader.js";
import { formatMegabytes } from "./format.js";
import { PROGRESS } from "./strings.js";

export class Progress {
  private readonly bar = find<HTMLProgressElement>("progress");
  private readonly text = find("progress-text");
  private announced = "";

  show(stage: LoadingStage): void {
    find("loading").hidden = stage.kind === "ready";
    this.bar.removeAttribute("value");
    if (stage.kind === "fetching") {
      const [done, total] = [formatMegabytes(stage.done), formatMegabytes(stage.total)];
      this.bar.max = stage.total;
      this.bar.value = stage.done;
      this.text.textContent = PROGRESS.fetching(done, total);
      this.announce(PROGRESS.fetchingStarts(total));
    } else {
      this.text.textContent = PROGRESS[stage.kind];
      this.announce(PROGRESS[stage.kind]);
    }
  }

  hide(): void {
    find("loading").hidden = true;
  }

  /** Let screen readers read a sentence out, once. */
  announce(sentence: string): void {
    if (sentence === this.announced) return;
    this.announced = sentence;
    find("status").textContent = sentence;
  }
}
