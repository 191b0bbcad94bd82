/** The snapshots of a gallery: make, download, verify, restore under another name, delete. */

import { make, makeButton } from "../../../common/dom.js";
import { formatCount } from "../../../common/format.js";
import type { Gallery, Job, Snapshot } from "../api/index.js";
import type { Context } from "../context.js";
import { makeAction, makeField, makeForm, makeHint, makeInput, makeTime } from "../parts/controls.js";
import { confirmed, openDialog } from "../parts/dialogs.js";
import { followJob } from "../parts/job-progress.js";
import { makeTable } from "../parts/table.js";
import { formatBytes } from "../numbers.js";
import { ACCESS, COMMON, GALLERIES, JOBS, SNAPSHOTS } from "../strings.js";

export async function showSnapshots(into: HTMLElement, context: Context, gallery: Gallery): Promise<void> {
  const { api, notices, signal } = context;
  const list = make("div");
  const jobs = make("div", "jobs");
  const fill = async (): Promise<void> => {
    list.replaceChildren(makeList(context, gallery, await api.snapshots.list(gallery.name, signal), follow));
  };
  const follow = (job: Job): void => {
    jobs.prepend(
      followJob(context, job, (ended) => {
        notices.say(JOBS.ended(ended));
        if (ended.problem) notices.fail(new Error(ended.problem.detail ?? ended.problem.title));
        void notices.guard(fill);
      }),
    );
  };
  const create = makeAction(SNAPSHOTS.create, notices, async () => follow(await api.snapshots.create(gallery.name)), "primary");
  create.id = "make-snapshot";
  await fill();
  into.append(make("div", "row", create, makeHint(SNAPSHOTS.hint)), jobs, list);
  if (context.access.kind === "limited") into.append(makeHint(ACCESS.restoreBeyondKey));
}

function makeList(
  context: Context,
  gallery: Gallery,
  snapshots: readonly Snapshot[],
  follow: (job: Job) => void,
): HTMLElement {
  return makeTable<Snapshot>(
    SNAPSHOTS.heading,
    [
      { name: SNAPSHOTS.name, cell: ({ name }) => make("span", "mono time", name) },
      { name: SNAPSHOTS.created, cell: ({ created_at }) => makeTime(created_at) },
      { name: GALLERIES.items, kind: "number", cell: ({ items }) => formatCount(items) },
      { name: GALLERIES.photos, kind: "number", cell: ({ photos }) => formatCount(photos) },
      { name: SNAPSHOTS.size, kind: "number", cell: ({ bytes }) => formatBytes(bytes) },
      { name: SNAPSHOTS.actions, kind: "actions", cell: (snapshot) => makeActions(context, gallery, snapshot, follow) },
    ],
    snapshots,
    SNAPSHOTS.none,
    ({ name }) => name,
  );
}

function makeActions(context: Context, { name: gallery }: Gallery, snapshot: Snapshot, follow: (job: Job) => void): Node[] {
  const { api, notices } = context;
  const { name } = snapshot;
  return [
    makeAction(SNAPSHOTS.download, notices, () => download(context, gallery, snapshot)),
    makeAction(SNAPSHOTS.verify, notices, async () => follow(await api.snapshots.verify(gallery, name))),
    // A limited key may make no other gallery.
    ...(context.access.kind === "limited" ? [] : [makeAction(SNAPSHOTS.restore, notices, () => openRestore(context, gallery, name, follow))]),
    makeAction(
      COMMON.delete,
      notices,
      async () => {
        const question = { title: SNAPSHOTS.deleteTitle(name), text: SNAPSHOTS.deleteText, action: COMMON.delete };
        if (!(await confirmed(question))) return;
        await api.snapshots.delete(gallery, name);
        notices.say(SNAPSHOTS.deleted(name));
        context.refresh();
      },
      "danger",
    ),
  ];
}

/** Without a key the browser downloads it by its address. With one it is fetched first: an address must not hold a key. */
async function download(context: Context, gallery: string, { name, bytes }: Snapshot): Promise<void> {
  const link = make("a");
  link.download = `${gallery}-${name}.tar`;
  if (context.access.kind === "open") {
    link.href = context.api.snapshots.address(gallery, name).href;
    link.click();
    return;
  }
  context.notices.say(SNAPSHOTS.fetching(formatBytes(bytes)));
  const file = await (await context.api.snapshots.file(gallery, name)).blob();
  const url = URL.createObjectURL(file);
  link.href = url;
  link.click();
  // The browser has begun to save it by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function openRestore(context: Context, gallery: string, snapshot: string, follow: (job: Job) => void): void {
  const into = makeInput("text", { required: "", pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", autocapitalize: "off" });
  const form = makeForm(
    context.notices,
    SNAPSHOTS.restore,
    async () => {
      try {
        follow(await context.api.snapshots.restore(into.value, gallery, snapshot));
      } finally {
        dialog.close();
      }
    },
    makeField(SNAPSHOTS.restoreInto, into, SNAPSHOTS.restoreHint),
  );
  const cancel = makeButton(COMMON.cancel, () => dialog.close());
  cancel.classList.add("small");
  form.lastElementChild?.append(cancel);
  const dialog = openDialog(SNAPSHOTS.restoreTitle(snapshot), [form]);
  into.focus();
}
