/** What happened, said: a short line for what was done, a panel for what failed. */

import { ProblemError } from "@askew/client";

import { make, makeButton } from "../../../common/dom.js";
import { COMMON } from "../strings.js";

const SHOWN_MILLISECONDS = 8_000;

export class Notices {
  /** `onRefused`: called when the server does not know the key any more. */
  constructor(
    private readonly toasts: HTMLElement,
    private readonly alerts: HTMLElement,
    private readonly onRefused: (problem: ProblemError) => void,
  ) {}

  /** Say that something was done. */
  say(text: string): void {
    const toast = make("p", "toast", text);
    this.toasts.append(toast);
    setTimeout(() => toast.remove(), SHOWN_MILLISECONDS);
  }

  /** Say what failed, until it is closed or another view is shown. */
  fail(error: unknown): void {
    if (isAbort(error)) return;
    if (isRefusedKey(error)) {
      this.onRefused(error);
      return;
    }
    const panel = makeProblem(error);
    panel.setAttribute("role", "alert");
    panel.append(makeButton(COMMON.close, () => panel.remove()));
    // One at a time: the newest counts.
    this.alerts.replaceChildren(panel);
    panel.scrollIntoView({ block: "nearest" });
  }

  clear(): void {
    this.alerts.replaceChildren();
  }

  /** Run an action, and show its failure. */
  async guard(action: () => Promise<void> | void): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.fail(error);
    }
  }
}

/**
 * Run what is done again and again, and show its failure in `trouble` until it works again: an alert each time would
 * interrupt people who listen.
 */
export async function keepTrying(notices: Notices, trouble: HTMLElement, action: () => Promise<void>): Promise<void> {
  try {
    await action();
    trouble.replaceChildren();
  } catch (error) {
    if (isAbort(error)) return;
    if (isRefusedKey(error)) notices.fail(error);
    else trouble.replaceChildren(makeProblem(error));
  }
}

/** A failure with its reason, and where the server names members of the request, with these. */
export function makeProblem(error: unknown): HTMLElement {
  const isProblem = error instanceof ProblemError;
  const title = isProblem ? error.title : COMMON.failed;
  const panel = make("div", "notice", make("strong", "", title), make("p", "", messageOf(error)));
  if (isProblem) {
    panel.dataset["kind"] = error.kind;
    const errors = error.members["errors"];
    if (Array.isArray(errors)) {
      const lines = errors.slice(0, 5).map((each: unknown) => make("li", "", describe(each)));
      panel.append(make("ul", "", ...lines));
    }
  }
  return panel;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Whether the server does not know the key any more. */
export const isRefusedKey = (error: unknown): error is ProblemError => error instanceof ProblemError && error.kind === "unauthorised";

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

function describe(error: unknown): string {
  if (typeof error !== "object" || error === null) return String(error);
  const { pointer, detail, message } = error as Readonly<Record<string, unknown>>;
  return [pointer, detail ?? message].filter((each) => typeof each === "string" && each).join(": ") || JSON.stringify(error);
}
