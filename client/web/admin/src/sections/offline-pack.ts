/** The offline pack of a gallery: whether it is allowed, what may leave, its state, making it, and withdrawing it. */

import { make, makeFacts } from "../../../common/dom.js";
import { formatCount } from "../../../common/format.js";
import type { Gallery, Job, OfflinePack, OfflinePackState } from "../api/index.js";
import type { Context } from "../context.js";
import { formatBytes, formatShare, formatTime } from "../numbers.js";
import { makeAction, makeBadge, makeHint, makePanel } from "../parts/controls.js";
import { confirmed } from "../parts/dialogs.js";
import { followJob } from "../parts/job-progress.js";
import { COMMON, GALLERIES, JOBS, PACK } from "../strings.js";
import { makePolicyForm } from "./offline-pack-policy.js";

const PAGE_ITEMS = 48;

export async function showOfflinePack(into: HTMLElement, context: Context, gallery: Gallery): Promise<void> {
  const { api, notices, signal } = context;
  const [first, { items }] = await Promise.all([
    api.offlinePacks.describe(gallery.name, signal),
    api.items.list(gallery.name, { limit: PAGE_ITEMS }, signal),
  ]);
  const state = make("div", "section");
  const jobs = make("div", "jobs");
  const followed = new Set<string>();
  const follow = (job: Job): void => {
    if (followed.has(job.id)) return;
    followed.add(job.id);
    const line = followJob(context, job, (ended) => {
      notices.say(JOBS.ended(ended));
      if (ended.problem) notices.fail(new Error(ended.problem.detail ?? ended.problem.title));
      line.remove();
      void notices.guard(read);
    });
    jobs.prepend(line);
  };
  const again = makeAction(PACK.makeAgain, notices, async () => follow(await api.offlinePacks.make(gallery.name)));
  // Made once, so that they keep the focus while the state above them changes.
  const actions = make("div", "row", again, makeWithdrawal(context, gallery));
  const fill = async (now: OfflinePackState): Promise<void> => {
    state.replaceChildren(...makeState(now));
    again.textContent = now.pack ? PACK.makeAgain : PACK.makeNow;
    actions.hidden = !now.isAllowed;
    if (now.building !== undefined && !followed.has(now.building)) follow(await api.jobs.get(now.building, signal));
  };
  const read = async (): Promise<void> => fill(await api.offlinePacks.describe(gallery.name, signal));

  const fields = new Set(items.flatMap(({ payload }) => Object.keys(payload)));
  const form = makePolicyForm(notices, fields, first.policy, async (policy) => {
    follow(await api.offlinePacks.allow(gallery.name, policy));
    await read();
  });
  const statePanel = makePanel(PACK.heading, state, actions, jobs);
  statePanel.id = "pack-state";
  into.classList.add("columns");
  into.append(statePanel, makePanel(PACK.policy, makeHint(PACK.leaves), form));
  await fill(first);
}

function makeWithdrawal({ api, notices, refresh }: Context, { name }: Gallery): HTMLElement {
  return makeAction(
    PACK.withdraw,
    notices,
    async () => {
      if (!(await confirmed({ title: PACK.withdrawTitle(name), text: PACK.withdrawText, action: PACK.withdraw }))) return;
      await api.offlinePacks.withdraw(name);
      notices.say(PACK.withdrawn(name));
      refresh();
    },
    "danger",
  );
}

function makeState({ isAllowed, pack, building, reason }: OfflinePackState): Node[] {
  const badge = isAllowed ? makeBadge(PACK.allowed, "good") : makeBadge(PACK.notAllowed);
  const head = make("div", "row", badge, ...(building === undefined ? [] : [makeBadge(PACK.building, "busy")]));
  if (!pack) return [head, makeHint(isAllowed ? (reason ?? "") : PACK.none)];
  const facts = make("dl", "facts");
  facts.append(...makeFacts(packFacts(pack)));
  return [head, facts];
}

function packFacts(pack: OfflinePack): (readonly [string, string])[] {
  const { codec, recall } = pack;
  return [
    [GALLERIES.items, formatCount(pack.items)],
    [PACK.size, formatBytes(pack.size)],
    [PACK.made, formatTime(pack.created_at)],
    [PACK.sequence, PACK.sequenceOf(formatCount(pack.sequence), formatCount(pack.gallery_sequence))],
    [PACK.isCurrent, pack.is_current ? COMMON.yes : PACK.isOld],
    [recall ? PACK.recallAt(recall.at) : PACK.recall, recall ? PACK.recallOf(formatShare(recall.value), formatCount(recall.queries)) : COMMON.none],
    [PACK.codec, PACK.codecOf(codec.kind, formatCount(codec.bytes))],
    [PACK.fields, pack.fields.join(", ") || COMMON.none],
    [PACK.thumbnails, PACK.thumbnailsOf(pack.thumbnails)],
  ];
}
