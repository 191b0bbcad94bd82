/** Doing something again and again, only while somebody can see it. */

/**
 * Run a task now, and again `seconds` after it has ended, until `signal` ends. While the page is hidden nothing runs; it
 * goes on when the page is seen again. `task` shows its own failures.
 */
export function poll(signal: AbortSignal, seconds: () => number, task: () => Promise<void>): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isRunning = false;
  const run = async (): Promise<void> => {
    clearTimeout(timer);
    if (signal.aborted || document.hidden || isRunning) return;
    isRunning = true;
    try {
      await task();
    } finally {
      isRunning = false;
      if (!signal.aborted) timer = setTimeout(() => void run(), 1000 * seconds());
    }
  };
  document.addEventListener("visibilitychange", () => void run(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  void run();
}
