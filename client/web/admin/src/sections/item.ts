/** One item: its photo, its payload, the items like it, and deleting it. */

import { make, makeButton, makeFacts } from "../../../common/dom.js";
import { formatScore } from "../../../common/format.js";
import type { Gallery, StoredItem } from "../api/index.js";
import type { Context } from "../context.js";
import { makeAction, makeField, makeForm, makeHint, makeLink, makePanel } from "../parts/controls.js";
import { confirmed } from "../parts/dialogs.js";
import { makeProblem } from "../parts/notices.js";
import { routeTo } from "../route.js";
import { COMMON, ITEM, ITEMS } from "../strings.js";
import { holdsLongNumber, parsePayload, textOf } from "./payload.js";

const SIMILAR_ITEMS = 12;

export async function showItem(into: HTMLElement, context: Context, gallery: Gallery, id: string): Promise<void> {
  const name = context.route.parts[1] ?? gallery.name;
  const item = await context.api.items.get(gallery.name, id, context.signal);
  const heading = make("h2", "", item.id);
  heading.dir = "auto";
  const photo = context.photos.make(name, item.id, item.has_photo, context.signal);
  photo.classList.add("large");
  const similar = make("div", "", makeHint(COMMON.loading));
  into.append(
    make("p", "", makeLink(ITEM.back, routeTo(["galleries", name, "items"]))),
    make("div", "columns", make("section", "panel", heading, photo), makePayloadPanel(context, gallery, item, name)),
    makePanel(ITEM.similar, similar),
  );
  void fillSimilar(similar, context, name, id);
}

function makePayloadPanel(context: Context, gallery: Gallery, item: StoredItem, name: string): HTMLElement {
  const facts = make("dl", "facts");
  facts.id = "payload";
  facts.append(...makeFacts(Object.entries(item.payload).map(([field, value]) => [field, textOf(value)])));
  if (item.photo_sha256) facts.append(...makeFacts([[ITEM.photoSha256, item.photo_sha256]]));
  const panel = makePanel(ITEM.payload, facts);
  if (Object.keys(item.payload).length === 0) facts.before(makeHint(ITEM.noPayload));
  const edit = makeButton(ITEM.edit, () => {
    const form = makeEditor(context, gallery, item);
    actions.replaceWith(form);
    form.querySelector("textarea")?.focus();
  });
  edit.classList.add("small");
  edit.id = "edit-payload";
  const remove = makeAction(
    ITEM.delete,
    context.notices,
    async () => {
      const question = { title: ITEMS.deleteTitle(1), text: ITEM.deleteText(item.id), action: COMMON.delete };
      if (!(await confirmed(question))) return;
      await context.api.items.delete(gallery.name, [item.id]);
      context.notices.say(ITEMS.deleted(1));
      location.hash = routeTo(["galleries", name, "items"]);
    },
    "danger",
  );
  remove.id = "delete-item";
  const actions = make("div", "row", ...(holdsLongNumber(item.payload) ? [makeHint(ITEM.longNumber)] : [edit]), remove);
  panel.append(actions);
  return panel;
}

function makeEditor(context: Context, gallery: Gallery, item: StoredItem): HTMLElement {
  const text = make("textarea", "mono");
  text.rows = 10;
  text.spellcheck = false;
  text.value = JSON.stringify(item.payload, null, 2);
  const form = makeForm(
    context.notices,
    ITEM.save,
    async () => {
      const payload = parsePayload(text.value);
      await context.api.items.changePayload(gallery.name, item.id, gallery.space, payload);
      context.notices.say(ITEM.saved);
      context.refresh();
    },
    makeField(ITEM.payloadJson, text, ITEM.payloadHint),
  );
  const cancel = makeButton(COMMON.cancel, context.refresh);
  cancel.classList.add("small");
  form.lastElementChild?.append(cancel);
  return form;
}

async function fillSimilar(into: HTMLElement, context: Context, name: string, id: string): Promise<void> {
  try {
    const { hits } = await context.api.items.similar(name, id, SIMILAR_ITEMS, context.signal);
    if (hits.length === 0) {
      into.replaceChildren(makeHint(ITEM.nothingSimilar));
      return;
    }
    const cards = hits.map((hit) => {
      const link = makeLink(hit.id, routeTo(["galleries", name, "items", hit.id]), "item-link");
      link.dir = "auto";
      // Hits do not say whether they have a photo; one that has none shows that.
      const photo = context.photos.make(name, hit.id, true, context.signal);
      return make("li", "item", photo, link, make("p", "hint summary", ITEM.score(formatScore(hit.score))));
    });
    const grid = make("ul", "items", ...cards);
    grid.id = "similar";
    grid.setAttribute("role", "list");
    into.replaceChildren(grid);
  } catch (error) {
    if (!context.signal.aborted) into.replaceChildren(makeProblem(error));
  }
}
