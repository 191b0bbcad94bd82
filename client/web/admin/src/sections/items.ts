/** The items of a gallery, page by page: photos, a filter, photos dropped in, and deleting. */

import { ProblemError } from "@askew/client";

import { make } from "../../../common/dom.js";
import { formatCount } from "../../../common/format.js";
import type { Gallery, Item } from "../api/index.js";
import type { Context } from "../context.js";
import { makeAction, makeHint, makeLink } from "../parts/controls.js";
import { confirmed } from "../parts/dialogs.js";
import { makeProblem } from "../parts/notices.js";
import { routeTo } from "../route.js";
import { COMMON, ITEMS } from "../strings.js";
import { fieldPath } from "./filter.js";
import { makeFilterForm } from "./filter-form.js";
import { showItem } from "./item.js";
import { summaryOf } from "./payload.js";
import { makeUpload } from "./upload.js";

const PAGE_ITEMS = 48;

export async function showItems(into: HTMLElement, context: Context, gallery: Gallery): Promise<void> {
  const { parts, query } = context.route;
  const id = parts[3];
  if (id !== undefined) return showItem(into, context, gallery, id);
  const name = parts[1] ?? gallery.name;
  const filter = query.get("filter") ?? undefined;
  const cursor = query.get("after") ?? undefined;
  const here = (after?: string): string => routeTo(["galleries", name, "items"], { filter, after });
  const apply = (wanted: string | undefined): void => {
    const place = routeTo(["galleries", name, "items"], { filter: wanted });
    // The same filter again asks the server again.
    if (location.hash === place) context.refresh();
    else location.hash = place;
  };
  const upload = makeUpload(context, gallery);
  let items: readonly Item[] = [];
  let next: string | null | undefined;
  let unknown: readonly string[] = [];
  let failure: unknown;
  try {
    ({ items, next_cursor: next, unknown_fields: unknown = [] } = await context.api.items.list(gallery.name, { cursor, filter, limit: PAGE_ITEMS }, context.signal));
  } catch (error) {
    // A filter that the server refuses stays in the form, to be mended.
    if (!(error instanceof ProblemError) || !["validation", "invalid-json"].includes(error.kind)) throw error;
    failure = error;
  }
  const fields = [...new Set(items.flatMap(({ payload }) => Object.keys(payload).map(fieldPath)))].sort();
  into.append(upload.element, makeFilterForm(filter, fields, apply));
  upload.acceptDrops(into);
  if (failure !== undefined) {
    into.append(makeProblem(failure));
    return;
  }
  if (unknown.length > 0) into.append(make("p", "hint", ITEMS.unknownFields(unknown)));
  if (items.length === 0) {
    into.append(make("p", "empty", filter ? ITEMS.noneMatch : ITEMS.none));
    return;
  }
  const selected = new Set<string>();
  const bar = makeSelectionBar(context, gallery, selected);
  const grid = make("ul", "items", ...items.map((item) => makeCard(context, name, item, selected, bar.update)));
  grid.setAttribute("role", "list");
  grid.setAttribute("aria-label", ITEMS.heading);
  into.append(bar.element, grid, makePager(context, items.length, cursor, next ?? undefined, here));
  if (filter) into.append(makeDeleteWhere(context, gallery, filter));
}

function makeCard(context: Context, name: string, item: Item, selected: Set<string>, changed: () => void): HTMLElement {
  const link = makeLink(item.id, routeTo(["galleries", name, "items", item.id]), "item-link");
  link.dir = "auto";
  const check = make("input");
  check.type = "checkbox";
  check.setAttribute("aria-label", ITEMS.select(item.id));
  check.addEventListener("change", () => {
    if (check.checked) selected.add(item.id);
    else selected.delete(item.id);
    changed();
  });
  const summary = make("p", "hint summary", summaryOf(item.payload));
  summary.dir = "auto";
  const card = make("li", "item", context.photos.make(name, item.id, item.has_photo, context.signal), link, summary, check);
  card.dataset["id"] = item.id;
  return card;
}

function makeSelectionBar(
  context: Context,
  gallery: Gallery,
  selected: ReadonlySet<string>,
): { readonly element: HTMLElement; readonly update: () => void } {
  const count = make("span", "", ITEMS.selected(0));
  const remove = makeAction(
    ITEMS.deleteSelected,
    context.notices,
    async () => {
      const question = { title: ITEMS.deleteTitle(selected.size), text: ITEMS.deleteText, action: COMMON.delete };
      if (!(await confirmed(question))) return;
      const deleted = await context.api.items.delete(gallery.name, [...selected]);
      context.notices.say(ITEMS.deleted(deleted));
      context.refresh();
    },
    "danger",
  );
  remove.id = "delete-selected";
  const element = make("div", "row selection", count, remove);
  element.hidden = true;
  const update = (): void => {
    element.hidden = selected.size === 0;
    count.textContent = ITEMS.selected(selected.size);
  };
  return { element, update };
}

function makePager(
  { pagesBefore }: Context,
  count: number,
  cursor: string | undefined,
  next: string | undefined,
  here: (after?: string) => string,
): HTMLElement {
  const pager = make("nav", "row pager");
  pager.setAttribute("aria-label", ITEMS.pages);
  if (cursor !== undefined) {
    const before = pagesBefore.get(here(cursor));
    pager.append(before === undefined ? makeLink(ITEMS.firstPage, here()) : makeLink(ITEMS.previousPage, before));
  }
  pager.append(make("span", "hint", ITEMS.onPage(formatCount(count))));
  if (next !== undefined) {
    // A page knows only the one after it.
    pagesBefore.set(here(next), here(cursor));
    pager.append(makeLink(ITEMS.nextPage, here(next)));
  }
  return pager;
}

/** Deleting all that match, which may be more than a page shows. */
function makeDeleteWhere(context: Context, gallery: Gallery, filter: string): HTMLElement {
  const button = makeAction(
    ITEMS.deleteMatching,
    context.notices,
    async () => {
      const question = {
        title: ITEMS.deleteMatchingTitle,
        text: ITEMS.deleteMatchingText(filter),
        action: COMMON.delete,
        typed: gallery.name,
      };
      if (!(await confirmed(question))) return;
      const deleted = await context.api.items.deleteWhere(gallery.name, filter);
      context.notices.say(ITEMS.deleted(deleted));
      context.refresh();
    },
    "danger",
  );
  return make("div", "row", button, makeHint(ITEMS.deleteMatchingHint));
}
