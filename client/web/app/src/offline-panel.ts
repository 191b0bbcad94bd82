/** Tells of the gallery's copy on this device, with what can be done about it: a card on the page, and a part of the settings. */

import { find, make, makeButton } from "./dom.js";
import { formatCount, formatDate, formatMegabytes, formatShare } from "./format.js";
import type { OfflineState } from "./offline-gallery.js";
import { OFFLINE } from "./strings.js";

export interface OfflineEvents {
  readonly onKeep: () => void;
  readonly onPause: () => void;
  readonly onDelete: () => void;
  /** Called when the person does not want to be asked on the page any more. */
  readonly onDismiss: () => void;
}

type Place = "card" | "settings";

interface Shown {
  readonly title: string;
  readonly hint: string;
  readonly progress?: readonly [done: number, total: number];
  readonly buttons: readonly HTMLButtonElement[];
}

export class OfflinePanel {
  private readonly roots: Readonly<Record<Place, HTMLElement>> = {
    card: find("offline-card"),
    settings: find("offline-settings"),
  };
  private readonly bars = new Map<Place, HTMLProgressElement>();
  private shownKind = "";

  constructor(private readonly events: OfflineEvents) {}

  /** `isDismissed`: the card does not offer a copy. */
  show(state: OfflineState, isDismissed: boolean): void {
    const kind = `${state.kind} ${isDismissed} ${"isUpdating" in state && state.isUpdating}`;
    for (const place of ["card", "settings"] as const) {
      const root = this.roots[place];
      root.dataset["offline"] = state.kind;
      root.hidden = place === "card" && (["none", "kept"].includes(state.kind) || (state.kind === "offered" && isDismissed));
      const shown = this.describe(state, place);
      // Its buttons stay the same elements while it comes, so that the focus stays on them.
      if (state.kind === "fetching" && this.shownKind === kind) this.update(place, shown);
      else this.render(place, shown);
    }
    this.shownKind = kind;
  }

  private render(place: Place, { buttons, hint, progress, title }: Shown): void {
    const parts: Node[] = [make("p", "offline-title", title), make("p", "hint", hint)];
    this.bars.delete(place);
    if (progress) {
      const bar = make("progress");
      bar.setAttribute("aria-label", OFFLINE.progress);
      [bar.value, bar.max] = [progress[0], progress[1]];
      this.bars.set(place, bar);
      parts.push(bar);
    }
    if (buttons.length > 0) parts.push(make("div", "offline-actions", ...buttons));
    this.roots[place].replaceChildren(...parts);
  }

  private update(place: Place, { hint, progress }: Shown): void {
    const bar = this.bars.get(place);
    if (bar && progress) [bar.value, bar.max] = [progress[0], progress[1]];
    this.roots[place].querySelector(".hint")!.textContent = hint;
  }

  private describe(state: OfflineState, place: Place): Shown {
    const { onDelete, onDismiss, onKeep, onPause } = this.events;
    const button = (action: string, text: string, run: () => void) => {
      const made = makeButton(text, run);
      made.dataset["action"] = action;
      return made;
    };
    switch (state.kind) {
      case "none":
        return { title: state.isWithdrawn ? OFFLINE.withdrawn : OFFLINE.none, hint: OFFLINE.noneHint, buttons: [] };
      case "offered": {
        const size = formatMegabytes(state.size);
        const dismiss = place === "card" ? [button("dismiss", OFFLINE.dismiss, onDismiss)] : [];
        return {
          title: OFFLINE.offered,
          hint: OFFLINE.offeredHint(formatCount(state.items), size),
          buttons: [button("keep", OFFLINE.keep(size), onKeep), ...dismiss],
        };
      }
      case "fetching":
      case "paused":
      case "interrupted": {
        const [done, total] = [formatMegabytes(state.done), formatMegabytes(state.total)];
        const isComing = state.kind === "fetching";
        const next = isComing ? button("pause", OFFLINE.pause, onPause) : button("keep", OFFLINE.goOn, onKeep);
        const rest = place === "settings" && !isComing ? [button("delete", OFFLINE.delete, onDelete)] : [];
        return {
          title: OFFLINE[state.kind],
          hint: OFFLINE.done(done, total),
          progress: [state.done, state.total],
          buttons: [next, ...rest],
        };
      }
      case "kept": {
        const { created_at: made, items, recall } = state.pack.header;
        const facts = OFFLINE.keptHint(formatCount(items), formatDate(made), formatMegabytes(state.pack.size));
        return {
          title: state.isUpdating ? OFFLINE.updating : OFFLINE.kept,
          hint: recall ? `${facts} ${OFFLINE.recall(formatShare(recall.value), recall.at)}` : facts,
          buttons: [button("delete", OFFLINE.delete, onDelete)],
        };
      }
      case "failed":
        return { title: OFFLINE.failed, hint: state.message, buttons: [button("keep", OFFLINE.again, onKeep)] };
    }
  }
}
