/** Tells of failures, with the buttons that may help: try again, send the photo, enter a key. */

import { KeyForm } from "./key-form.js";
import { type Action, type Failure, NoticeBanner, describeFailure } from "./notices.js";
import { ServerPermission } from "./server-permission.js";
import { NOTICES } from "./strings.js";

/** Failures that the same action may not meet again. */
const WORTH_RETRYING = [
  "camera-in-use",
  "damaged-encoder",
  "failed",
  // Also what is told if the engine's files do not arrive.
  "no-engine",
  "open-timeout",
  "out-of-memory",
  "request-timeout",
  "unreachable",
];

/** `canServerDescribe`: whether the gallery's server has an encoder for photos. */
export interface Circumstances {
  readonly hasKey: boolean;
  readonly canServerDescribe: boolean;
}

export interface FailureEvents {
  readonly onKey: (key: string) => void;
  /** Called after the person allowed that the photo is sent. */
  readonly onAllow: () => void;
}

export class Failures {
  readonly permission = new ServerPermission();
  private readonly notice = new NoticeBanner();
  private readonly keyForm: KeyForm;

  constructor(private readonly events: FailureEvents) {
    this.keyForm = new KeyForm(events.onKey);
  }

  /** `retry`: what failed, to be tried again. */
  tell(error: unknown, { canServerDescribe, hasKey }: Circumstances, retry: () => void): void {
    const failure = describeFailure(error);
    this.permission.noteFailure(failure.kind);
    const isKeyMissing = failure.kind === "unauthorised";
    const shown = isKeyMissing && hasKey ? { ...failure, detail: NOTICES.keyRefused } : failure;
    this.notice.showFailure(shown, this.actionsFor(failure, canServerDescribe, retry));
    if (isKeyMissing) this.keyForm.show();
  }

  tellSwitch(encoder: string): void {
    this.notice.showNews("switched", NOTICES.switched(encoder));
  }

  /** Tell that the next visit will fetch the encoder again; not in place of a failure. */
  tellNotKept(size: string): void {
    if (!this.notice.isShown) this.notice.showNews("not-kept", NOTICES.notKept(size));
  }

  /** Remove what was told: something new begins. */
  clear(): void {
    this.notice.close();
    this.keyForm.hide();
  }

  private actionsFor({ kind, retryAfter }: Failure, canServerDescribe: boolean, retry: () => void): Action[] {
    const actions: Action[] = [];
    if (retryAfter !== undefined || WORTH_RETRYING.includes(kind)) {
      actions.push({ id: "retry", text: NOTICES.retry, run: retry, after: retryAfter });
    }
    if (canServerDescribe && this.permission.isWorthAsking(kind)) {
      const allow = () => {
        this.permission.give();
        this.events.onAllow();
      };
      actions.push({ id: "send-photo", text: NOTICES.send, run: allow });
    }
    return actions;
  }
}
