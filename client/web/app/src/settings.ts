/** The dialog with what can be set, and the facts about the gallery and the encoder. */

import type { GalleryDescription } from "@askew/client";

import { find, make, makeFacts } from "./dom.js";
import type { OpenEncoder } from "./encoder-loader.js";
import { formatCount, formatMegabytes, formatMilliseconds } from "./format.js";
import type { InstallationState } from "./installation.js";
import type { DeviceStorage } from "./storage.js";
import { INSTALLATION, SETTINGS } from "./strings.js";

const NAME = "threshold";

/**
 * The share of photos without a match that may still get a hit; undefined: no threshold. A person sees at once that a hit
 * is wrong, but never learns of one that was left out: so the default is not a strict one.
 */
const SHARES = { strict: 0.01, careful: 0.05, normal: 0.2, off: undefined } as const;

type Choice = keyof typeof SHARES;

export interface SettingsEvents {
  readonly onThreshold: () => void;
  readonly onForgetKey: () => void;
}

export class Settings {
  private readonly dialog = find<HTMLDialogElement>("settings");
  private readonly threshold = find<HTMLSelectElement>("threshold");

  constructor(
    private readonly storage: DeviceStorage,
    events: SettingsEvents,
  ) {
    for (const [choice, text] of Object.entries(SETTINGS.thresholds)) {
      const option = make("option", "", text);
      option.value = choice;
      this.threshold.append(option);
    }
    this.threshold.value = this.choice;
    this.threshold.addEventListener("change", () => {
      this.storage.keep(NAME, this.threshold.value);
      events.onThreshold();
    });
    find("settings-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    find("forget-key").addEventListener("click", () => {
      this.dialog.close();
      events.onForgetKey();
    });
  }

  /** What a search asks for. */
  get maxFalseMatch(): number | undefined {
    return SHARES[this.choice];
  }

  showInstallation(state: InstallationState): void {
    const line = find("installation");
    line.textContent = INSTALLATION[state];
    line.dataset["installation"] = state;
  }

  show(gallery: GalleryDescription | undefined, open: OpenEncoder | undefined, hasKey: boolean): void {
    const isMeasured = !open || Boolean(open.description.report?.false_matches);
    find("threshold-hint").textContent = isMeasured ? SETTINGS.thresholdHint : SETTINGS.thresholdUnknown;
    this.threshold.disabled = !isMeasured;
    find("gallery-facts").replaceChildren(...makeFacts(gallery ? galleryFacts(gallery) : []));
    find("encoder-facts").replaceChildren(...makeFacts(open ? encoderFacts(open) : []));
    find("encoder-none").textContent = open ? "" : SETTINGS.noEncoder;
    find("key-state").textContent = hasKey ? SETTINGS.keyKept : SETTINGS.keyNotKept;
    find("forget-key").hidden = !hasKey;
    this.dialog.showModal();
  }

  private get choice(): Choice {
    const kept = this.storage.read(NAME);
    return kept !== undefined && Object.hasOwn(SHARES, kept) ? (kept as Choice) : "normal";
  }
}

function galleryFacts({ items, name, space, teacher }: GalleryDescription): [string, string][] {
  return [
    [SETTINGS.name, name],
    [SETTINGS.items, formatCount(items)],
    [SETTINGS.teacher, teacher],
    [SETTINGS.space, space],
  ];
}

function encoderFacts({ description, encoder: { selfTest }, isKept }: OpenEncoder): [string, string][] {
  const distance = Math.max(...selfTest.golden.values()).toExponential(1);
  return [
    [SETTINGS.encoder, description.id],
    [SETTINGS.size, formatMegabytes(description.size)],
    [SETTINGS.precision, description.precision],
    [SETTINGS.selfTest, SETTINGS.selfTestPassed(distance, formatMilliseconds(selfTest.milliseconds))],
    [SETTINGS.threads, String(selfTest.threads)],
    [SETTINGS.kept, isKept ? SETTINGS.yes : SETTINGS.no],
  ];
}
