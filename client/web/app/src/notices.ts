/** The banner for failures and short news, and the sentence for each failure. */

import { DeviceError, ProblemError } from "@askew/client";

import { CameraError } from "./camera.js";
import { find, makeButton } from "./dom.js";
import { QueueFullError } from "./query-queue.js";
import { NoGalleryError } from "./session.js";
import { FAILURES, NOTICES } from "./strings.js";

/** `kind`: a key of `FAILURES`, or a problem's slug. `reason`: what the library or the server said, in small print. */
export interface Failure {
  readonly kind: string;
  readonly title: string;
  readonly detail: string;
  readonly reason: string | undefined;
  /** Seconds after which to try again. */
  readonly retryAfter: number | undefined;
}

export interface Action {
  readonly text: string;
  readonly run: () => void;
  /** The button can be pressed after this many seconds. */
  readonly after?: number | undefined;
  /** The button's id. */
  readonly id: string;
}

const USUAL_WAIT = 5;

/** Whether something was given up because something newer replaced it. */
export const isReplaced = (error: unknown): boolean =>
  (error instanceof DOMException && error.name === "AbortError") ||
  (error instanceof DeviceError && error.kind === "stopped");

/** What to tell of an error. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof ProblemError) return describeProblem(error);
  if (error instanceof CameraError) return known(error.kind);
  if (error instanceof DeviceError) return known(error.kind, error.message);
  if (error instanceof NoGalleryError) return known("no-gallery");
  if (error instanceof QueueFullError) return known("queue-full");
  return known("failed", String(error));
}

function describeProblem(problem: ProblemError): Failure {
  const { message, retryAfter, status, title } = problem;
  const says = NOTICES.serverSays(title, message);
  if (status === 429 || status === 503) {
    const seconds = Math.max(0, Math.ceil(retryAfter ?? USUAL_WAIT));
    const busy = status === 429 ? NOTICES.busy : NOTICES.unavailable;
    return { kind: problem.kind, title: busy, detail: NOTICES.wait(seconds), reason: says, retryAfter: seconds };
  }
  // A proxy's own 401 and 403 have no slug.
  const kind = status === 401 ? "unauthorised" : status === 403 && problem.kind === "http" ? "forbidden" : problem.kind;
  if (kind in FAILURES) return known(kind, kind === "unreachable" ? undefined : says);
  return { kind, title, detail: message, reason: undefined, retryAfter: undefined };
}

function known(kind: string, reason?: string): Failure {
  const text = FAILURES[kind] ?? FAILURES["failed"]!;
  return { kind, ...text, reason, retryAfter: undefined };
}

export class NoticeBanner {
  private readonly banner = find("notice");
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor() {
    find("notice-close").addEventListener("click", () => this.close());
  }

  /** Show a failure with what can be done about it. */
  showFailure(failure: Failure, actions: readonly Action[]): void {
    this.show(failure.kind, "failure", failure.title, failure.detail, failure.reason ?? "");
    find("notice-actions").replaceChildren(...actions.map((action) => this.makeAction(action)));
    this.banner.scrollIntoView({ block: "nearest" });
  }

  /** Show one sentence of news. */
  showNews(kind: string, text: string): void {
    this.show(kind, "news", text, "", "");
  }

  get isShown(): boolean {
    return !this.banner.hidden;
  }

  close(): void {
    clearInterval(this.timer);
    this.banner.hidden = true;
    delete this.banner.dataset["kind"];
  }

  private show(kind: string, tone: string, title: string, detail: string, reason: string): void {
    this.close();
    this.banner.dataset["kind"] = kind;
    this.banner.dataset["tone"] = tone;
    const texts = { "notice-title": title, "notice-detail": detail, "notice-reason": reason };
    for (const [id, text] of Object.entries(texts)) {
      find(id).textContent = text;
      find(id).hidden = text === "";
    }
    find("notice-actions").replaceChildren();
    this.banner.hidden = false;
  }

  private makeAction({ after = 0, id, run, text }: Action): HTMLButtonElement {
    const button = makeButton(text, () => {
      this.close();
      run();
    });
    button.id = id;
    if (after > 0) this.countDown(button, text, after);
    return button;
  }

  private countDown(button: HTMLButtonElement, text: string, after: number): void {
    const end = performance.now() + after * 1000;
    const update = () => {
      const left = Math.ceil((end - performance.now()) / 1000);
      button.disabled = left > 0;
      button.textContent = left > 0 ? NOTICES.retryIn(left) : text;
      if (left <= 0) clearInterval(this.timer);
    };
    this.timer = setInterval(update, 500);
    update();
  }
}
