/** Asking again when the server has no room at the moment. */

import { ProblemError } from "@askew/client";

/** Where the server does not say how long to wait. */
const BUSY_SECONDS = 5;

/**
 * Do what asks the server, and again after each 429, when the server says. `waiting`: called with the seconds until then.
 * Throws AbortError when `signal` ends, and what `ask` throws.
 */
export async function whenThereIsRoom<Answer>(
  ask: () => Promise<Answer>,
  signal: AbortSignal,
  waiting: (seconds: number) => void = () => {},
): Promise<Answer> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 429) throw error;
      const seconds = error.retryAfter ?? BUSY_SECONDS;
      waiting(seconds);
      await pause(1000 * seconds, signal);
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("Nobody waits any more.", "AbortError"));
    });
  });
}
