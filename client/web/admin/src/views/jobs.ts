/** The jobs of the server, as they go on; and one of them with its result. */

import { make, makeFacts } from "../../../common/dom.js";
import type { Job } from "../api/index.js";
import type { Context, View } from "../context.js";
import { makeAction, makeBadge, makeHint, makeLink, makePanel, makeTime } from "../parts/controls.js";
import { confirmed } from "../parts/dialogs.js";
import { hasEnded, makeJobBar } from "../parts/job-progress.js";
import { keepTrying } from "../parts/notices.js";
import { poll } from "../parts/polling.js";
import { makeTable } from "../parts/table.js";
import { formatTime } from "../numbers.js";
import { routeTo } from "../route.js";
import { ACCESS, COMMON, JOBS, NAVIGATION } from "../strings.js";

const BUSY_POLL_SECONDS = 1;
const CALM_POLL_SECONDS = 3;
const TONES = { waiting: "busy", running: "busy", done: "good", failed: "bad", cancelled: "" } as const;

export const showJobs: View = async (into, context) => {
  const { api, access, notices, signal } = context;
  const list = make("div");
  let shown = "";
  let jobs = await api.jobs.list(signal);
  const fill = (): void => {
    // Rows that did not change keep the focus.
    const now = JSON.stringify(jobs);
    if (now === shown) return;
    shown = now;
    const focused = document.activeElement?.closest("tr")?.dataset["id"];
    list.replaceChildren(makeList(context, jobs));
    if (focused) list.querySelector<HTMLElement>(`tr[data-id="${CSS.escape(focused)}"] a`)?.focus();
  };
  fill();
  into.append(make("div", "head", make("h1", "", NAVIGATION.jobs), makeHint(JOBS.hint)));
  if (access.kind === "limited") into.append(makeHint(ACCESS.limitedTo(access.galleries)));
  const trouble = make("div");
  into.append(trouble, list);
  const seconds = (): number => (jobs.every(hasEnded) ? CALM_POLL_SECONDS : BUSY_POLL_SECONDS);
  poll(signal, seconds, () =>
    keepTrying(notices, trouble, async () => {
      jobs = await api.jobs.list(signal);
      fill();
    }),
  );
};

function makeList(context: Context, jobs: readonly Job[]): HTMLElement {
  return makeTable<Job>(
    NAVIGATION.jobs,
    [
      { name: JOBS.job, cell: (job) => makeLink(JOBS.kind(job.kind), routeTo(["jobs", job.id]), "strong") },
      { name: JOBS.gallery, cell: ({ gallery }) => makeLink(gallery, routeTo(["galleries", gallery])) },
      { name: JOBS.stateName, cell: (job) => stateCell(job) },
      { name: JOBS.created, cell: ({ created_at }) => makeTime(created_at) },
      { name: JOBS.problem, cell: ({ problem }) => problem?.detail ?? problem?.title ?? "" },
      { name: JOBS.actions, kind: "actions", cell: (job) => (hasEnded(job) ? "" : makeCancel(context, job)) },
    ],
    jobs,
    JOBS.noJobs,
    ({ id }) => id,
  );
}

function stateCell(job: Job): (Node | string)[] {
  const badge = makeBadge(JOBS.states[job.state], TONES[job.state]);
  if (hasEnded(job)) return [badge];
  return [badge, " ", makeJobBar(job), make("span", "hint", ` ${JOBS.counts(job)}`)];
}

function makeCancel({ api, notices, refresh }: Context, job: Job): HTMLElement {
  return makeAction(
    JOBS.cancel,
    notices,
    async () => {
      if (!(await confirmed({ title: JOBS.cancelTitle(job), text: JOBS.cancelText, action: JOBS.cancel }))) return;
      await api.jobs.cancel(job.id);
      notices.say(JOBS.isCancelled);
      refresh();
    },
    "danger",
  );
}

export const showJob: View = async (into, context) => {
  const { api, notices, route, signal } = context;
  const id = route.parts[1] ?? "";
  let job = await api.jobs.get(id, signal);
  const trouble = make("div");
  const content = make("div", "section");
  const fill = (): void => content.replaceChildren(...makeJob(context, job));
  fill();
  into.append(make("p", "", makeLink(JOBS.back, routeTo(["jobs"]))), make("h1", "", JOBS.name(job)), trouble, content);
  if (hasEnded(job)) return;
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  poll(stop.signal, () => BUSY_POLL_SECONDS, () =>
    keepTrying(notices, trouble, async () => {
      const now = await api.jobs.get(id, stop.signal);
      if (JSON.stringify(now) !== JSON.stringify(job)) {
        job = now;
        fill();
      }
      if (hasEnded(now)) stop.abort();
    }),
  );
};

function makeJob(context: Context, job: Job): Node[] {
  const facts = make("dl", "facts");
  facts.append(make("dt", "", JOBS.stateName), make("dd", "", ...stateCell(job)));
  facts.append(
    ...makeFacts([
      [JOBS.id, job.id],
      [JOBS.created, formatTime(job.created_at)],
      [JOBS.started, job.started_at ? formatTime(job.started_at) : COMMON.none],
      [JOBS.endedAt, job.ended_at ? formatTime(job.ended_at) : COMMON.none],
      [JOBS.progress, JOBS.counts(job)],
    ]),
    make("dt", "", JOBS.gallery),
    make("dd", "", makeLink(job.gallery, routeTo(["galleries", job.gallery]))),
  );
  const nodes: Node[] = [makePanel(JOBS.facts, facts, ...(hasEnded(job) ? [] : [make("div", "row", makeCancel(context, job))]))];
  if (job.problem) {
    const { title = "", detail = "" } = job.problem;
    nodes.push(makePanel(JOBS.problem, make("div", "notice", make("strong", "", title), make("p", "", detail))));
  }
  if (job.result) nodes.push(makePanel(JOBS.result, make("pre", "mono result", JSON.stringify(job.result, null, 2))));
  return nodes;
}
