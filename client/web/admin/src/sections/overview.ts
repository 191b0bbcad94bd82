/** A gallery's facts, its index, and deleting it. */

import { make, makeFacts } from "../../../common/dom.js";
import { formatCount, formatMegabytes } from "../../../common/format.js";
import type { Gallery, IndexKind, IndexState } from "../api/index.js";
import type { Context } from "../context.js";
import { makeAction, makeField, makeHint, makePanel, makeSelect } from "../parts/controls.js";
import { makeDeletion } from "../parts/gallery-deletion.js";
import { makeIndexState } from "../parts/index-state.js";
import { followJob } from "../parts/job-progress.js";
import { isRefusedKey } from "../parts/notices.js";
import { poll } from "../parts/polling.js";
import { formatShare } from "../numbers.js";
import { COMMON, GALLERIES, GALLERY, INDEX, JOBS } from "../strings.js";

const BUILDING_POLL_SECONDS = 2;
const KINDS: readonly IndexKind[] = ["auto", "exact", "two-stage", "ivf-two-stage", "gpu-exact"];

export async function showOverview(into: HTMLElement, context: Context, gallery: Gallery): Promise<void> {
  const index = await context.api.galleries.index(gallery.name, context.signal);
  into.classList.add("columns");
  into.append(makeFactsPanel(gallery), makeIndexPanel(context, gallery, index), makeDangerPanel(context, gallery));
}

function makeFactsPanel(gallery: Gallery): HTMLElement {
  const facts = make("dl", "facts");
  facts.append(
    ...makeFacts([
      [GALLERIES.teacher, gallery.teacher],
      [GALLERY.describes, gallery.describes_photos ? COMMON.yes : GALLERY.describesNot],
      [GALLERIES.space, gallery.space],
      [GALLERY.dimension, formatCount(gallery.dim)],
      [GALLERY.photoSize, GALLERY.pixels(gallery.photo_size, gallery.scales.map((each) => each.toFixed(2)).join(", "))],
      [GALLERY.students, gallery.admitted_encoders.filter((each) => each !== gallery.teacher).join(", ") || COMMON.none],
      [GALLERY.aliases, gallery.aliases.join(", ") || COMMON.none],
      [GALLERY.sequence, formatCount(gallery.sequence)],
    ]),
  );
  return makePanel(GALLERY.facts, facts);
}

function makeIndexPanel(context: Context, { name }: Gallery, first: IndexState): HTMLElement {
  const { api, notices, signal } = context;
  const facts = make("dl", "facts");
  facts.id = "index-facts";
  const fill = (index: IndexState): void => {
    const state = make("dd", "", ...makeIndexState(index));
    facts.replaceChildren(make("dt", "", INDEX.state), state, ...makeFacts(indexFacts(index)));
  };
  fill(first);
  if (first.building) {
    const stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort());
    poll(stop.signal, () => BUILDING_POLL_SECONDS, async () => {
      try {
        const index = await api.galleries.index(name, stop.signal);
        fill(index);
        if (!index.building) stop.abort();
      } catch (error) {
        // The server may be busy for a moment: the next reading says how it is.
        if (isRefusedKey(error)) notices.fail(error);
      }
    });
  }
  const kind = makeSelect(KINDS.map((each) => [each, INDEX.kinds[each]]), first.wanted);
  const choose = makeAction(INDEX.choose, notices, async () => {
    await api.galleries.chooseIndex(name, kind.value as IndexKind);
    notices.say(INDEX.chosen(kind.value));
    context.refresh();
  });
  const jobs = make("div");
  const rebuild = makeAction(INDEX.rebuild, notices, async () => {
    const job = await api.galleries.rebuildIndex(name);
    jobs.replaceChildren(
      followJob(context, job, (ended) => {
        notices.say(JOBS.ended(ended));
        void notices.guard(async () => fill(await api.galleries.index(name, signal)));
      }),
    );
  });
  rebuild.id = "rebuild-index";
  return makePanel(
    INDEX.heading,
    facts,
    make("div", "row end", makeField(INDEX.wanted, kind), choose),
    make("div", "row", rebuild, makeHint(INDEX.rebuildHint)),
    jobs,
  );
}

function indexFacts(index: IndexState): (readonly [string, string])[] {
  const recall = index.exact ? INDEX.recallExact : index.recall_at_10 == null ? COMMON.unknown : formatShare(index.recall_at_10);
  const facts: (readonly [string, string])[] = [
    [INDEX.kind, INDEX.kindOf(index.kind, index.wanted, index.chosen)],
    [INDEX.recall, recall],
    [INDEX.coverage, INDEX.coverageOf(formatCount(index.main), formatCount(index.tail), formatCount(index.removed))],
    [INDEX.memory, INDEX.memoryOf(formatMegabytes(index.bytes_memory), formatMegabytes(index.bytes_mapped))],
    [INDEX.generation, formatCount(index.generation)],
  ];
  if (index.failure) facts.push([INDEX.failure, index.failure]);
  return facts;
}

function makeDangerPanel(context: Context, { name }: Gallery): HTMLElement {
  const button = makeDeletion(context, name);
  button.id = "delete-gallery";
  return makePanel(GALLERY.danger, makeHint(GALLERY.deleteHint), make("div", "row", button));
}
