/** Aliases: second names of galleries, which can be moved from one to another. */

import { make } from "../../../common/dom.js";
import type { Context, View } from "../context.js";
import { makeAction, makeField, makeForm, makeHint, makeInput, makeLink, makePanel, makeSelect } from "../parts/controls.js";
import { confirmed } from "../parts/dialogs.js";
import { makeTable } from "../parts/table.js";
import { routeTo } from "../route.js";
import { ALIASES, COMMON, NAVIGATION } from "../strings.js";

type Alias = readonly [alias: string, gallery: string];

export const showAliases: View = async (into, context) => {
  const { api, signal } = context;
  const [aliases, { galleries }] = await Promise.all([api.aliases.list(signal), api.galleries.list(signal)]);
  const names = galleries.map(({ name }) => name);
  into.append(
    make("div", "head", make("h1", "", NAVIGATION.aliases), makeHint(ALIASES.hint)),
    makeTable<Alias>(
      NAVIGATION.aliases,
      [
        { name: ALIASES.alias, cell: ([alias]) => make("span", "strong", alias) },
        { name: ALIASES.gallery, cell: ([, gallery]) => makeLink(gallery, routeTo(["galleries", gallery])) },
        { name: ALIASES.move, cell: (each) => makeMove(context, each, names) },
        { name: ALIASES.actions, kind: "actions", cell: (each) => makeDelete(context, each) },
      ],
      Object.entries(aliases),
      ALIASES.none,
      ([alias]) => alias,
    ),
    makeCreation(context, names),
  );
};

function makeMove(context: Context, [alias, gallery]: Alias, names: readonly string[]): HTMLElement {
  const select = makeSelect(names.map((name) => [name, name]), gallery);
  select.setAttribute("aria-label", ALIASES.moveLabel(alias));
  const move = makeAction(ALIASES.moveAction, context.notices, async () => {
    if (select.value === gallery) return;
    const question = {
      title: ALIASES.moveTitle(alias, select.value),
      text: ALIASES.moveText(alias, gallery, select.value),
      action: ALIASES.moveAction,
    };
    if (!(await confirmed(question))) return;
    await setAlias(context, alias, select.value);
  });
  return make("div", "row", select, move);
}

function makeDelete(context: Context, [alias]: Alias): HTMLElement {
  return makeAction(
    COMMON.delete,
    context.notices,
    async () => {
      const question = { title: ALIASES.deleteTitle(alias), text: ALIASES.deleteText, action: COMMON.delete };
      if (!(await confirmed(question))) return;
      await context.api.aliases.delete(alias);
      context.notices.say(ALIASES.deleted(alias));
      context.refresh();
    },
    "danger",
  );
}

function makeCreation(context: Context, names: readonly string[]): HTMLElement {
  const alias = makeInput("text", { required: "", pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", autocapitalize: "off" });
  alias.id = "new-alias";
  const gallery = makeSelect(names.map((name) => [name, name]));
  gallery.id = "new-alias-gallery";
  const form = makeForm(
    context.notices,
    ALIASES.create,
    () => setAlias(context, alias.value, gallery.value),
    make("div", "fields", makeField(ALIASES.alias, alias, ALIASES.aliasHint), makeField(ALIASES.gallery, gallery)),
  );
  form.id = "alias-form";
  return makePanel(ALIASES.create, form);
}

async function setAlias(context: Context, alias: string, gallery: string): Promise<void> {
  const { previous } = await context.api.aliases.set(alias, gallery);
  context.notices.say(previous ? ALIASES.moved(alias, previous, gallery) : ALIASES.created(alias, gallery));
  context.refresh();
}
