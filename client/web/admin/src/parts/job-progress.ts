/** The progress of one job, until it has ended. */

import { make } from "../../../common/dom.js";
import type { Job } from "../api/index.js";
import type { Context } from "../context.js";
import { routeTo } from "../route.js";
import { JOBS } from "../strings.js";
import { makeLink } from "./controls.js";
import { isRefusedKey, messageOf } from "./notices.js";
import { poll } from "./polling.js";

const POLL_SECONDS = 0.7;

export const hasEnded = ({ state }: Job): boolean => state !== "waiting" && state !== "running";

/** A line that follows a job. `onEnd`: called once with the job as it ended. */
export function followJob(context: Context, started: Job, onEnd: (ended: Job) => void): HTMLElement {
  const bar = makeJobBar(started);
  const text = make("p", "hint", JOBS.state(started));
  const line = make("div", "job-line", makeLink(JOBS.name(started), routeTo(["jobs", started.id])), bar, text);
  line.dataset["job"] = started.id;
  const stop = new AbortController();
  if (context.signal.aborted) stop.abort();
  context.signal.addEventListener("abort", () => stop.abort());
  poll(stop.signal, () => POLL_SECONDS, async () => {
    try {
      const job = await context.api.jobs.get(started.id, stop.signal);
      updateJobBar(bar, job);
      text.textContent = JOBS.state(job);
      line.dataset["state"] = job.state;
      if (!hasEnded(job)) return;
      stop.abort();
      onEnd(job);
    } catch (error) {
      // The server may be busy for a moment; the job goes on without us.
      if (stop.signal.aborted) return;
      if (isRefusedKey(error)) context.notices.fail(error);
      else text.textContent = JOBS.notRead(messageOf(error));
    }
  });
  return line;
}

export function makeJobBar(job: Job): HTMLProgressElement {
  const bar = make("progress");
  bar.setAttribute("aria-label", JOBS.progressOf(job));
  updateJobBar(bar, job);
  return bar;
}

function updateJobBar(bar: HTMLProgressElement, { state, done, total }: Job): void {
  if (state === "done") {
    bar.max = bar.value = 1;
  } else if (total) {
    bar.max = total;
    bar.value = done;
  } else if (state === "running") {
    bar.removeAttribute("value");
  } else {
    bar.value = 0;
  }
}
