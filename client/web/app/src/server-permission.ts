/** Whether photos may be sent to the server: only after the person allowed it, and only for this visit. */

import { find } from "./dom.js";
import { PRIVACY } from "./strings.js";

/** Failures after which this device cannot describe photos, but the server may. */
const DEVICE_CANNOT = ["no-encoder-fits", "no-engine", "open-timeout", "out-of-memory", "encoder-disagrees"];
const SERVER_CANNOT = ["photo-search-off", "cannot-describe"];

export class ServerPermission {
  private state: keyof typeof PRIVACY = "stays";

  constructor() {
    this.show();
  }

  get isGiven(): boolean {
    return this.state === "sent";
  }

  give(): void {
    this.state = "sent";
    this.show();
  }

  /** Ask again before the next photo is sent. */
  withdraw(): void {
    this.state = "stays";
    this.show();
  }

  /** Whether a failure is a reason to ask for the permission. */
  isWorthAsking(kind: string): boolean {
    return this.state === "stays" && DEVICE_CANNOT.includes(kind);
  }

  /** Take the permission back if the server does not describe photos. */
  noteFailure(kind: string): void {
    if (!SERVER_CANNOT.includes(kind)) return;
    this.state = "refused";
    this.show();
  }

  /** Tell the truth about where the photo goes. */
  private show(): void {
    const sentence = find("privacy");
    sentence.textContent = PRIVACY[this.state];
    sentence.dataset["photo"] = this.state;
  }
}
