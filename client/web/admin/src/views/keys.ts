/** Keys: which there are, a new one, shown once, and revoking. */

import { make, makeButton } from "../../../common/dom.js";
import type { CreatedKey, KeyDescription, Scope } from "../api/index.js";
import type { Context, View } from "../context.js";
import { makeAction, makeBadge, makeField, makeForm, makeHint, makeInput, makePanel, makeSelect } from "../parts/controls.js";
import { confirmed, openDialog } from "../parts/dialogs.js";
import { makeTable } from "../parts/table.js";
import { formatTime } from "../numbers.js";
import { KEYS, NAVIGATION } from "../strings.js";

export const showKeys: View = async (into, context) => {
  const { api, access, signal } = context;
  const [keys, { galleries }] = await Promise.all([api.keys.list(signal), api.galleries.list(signal)]);
  const isFirst = access.kind === "open";
  into.append(
    make("div", "head", make("h1", "", NAVIGATION.keys), makeHint(isFirst ? KEYS.openHint : KEYS.hint)),
    makeTable<KeyDescription>(
      NAVIGATION.keys,
      [
        { name: KEYS.name, cell: ({ name }) => make("span", "strong", name) },
        { name: KEYS.id, cell: ({ id }) => make("span", "mono", id) },
        { name: KEYS.scope, cell: ({ scopes }) => makeBadge(scopes.join(", ")) },
        { name: KEYS.galleries, cell: (key) => key.galleries?.join(", ") ?? KEYS.allGalleries },
        { name: KEYS.rate, cell: (key) => (key.requests_per_second === null ? KEYS.noLimit : KEYS.perSecond(key.requests_per_second)) },
        { name: KEYS.expires, cell: expiryCell },
        { name: KEYS.actions, kind: "actions", cell: (key) => makeRevoke(context, key) },
      ],
      // Answers leave out what is null.
      keys.map((key) => ({ ...key, requests_per_second: key.requests_per_second ?? null })),
      KEYS.none,
      ({ id }) => id,
    ),
    makeCreation(context, galleries.map(({ name }) => name), isFirst),
  );
};

function expiryCell({ expires_at }: KeyDescription): (Node | string)[] {
  if (!expires_at) return [KEYS.never];
  const isOver = new Date(expires_at).getTime() < Date.now();
  return isOver ? [formatTime(expires_at), " ", makeBadge(KEYS.expired, "bad")] : [formatTime(expires_at)];
}

function makeRevoke(context: Context, { id, name }: KeyDescription): HTMLElement {
  return makeAction(
    KEYS.revoke,
    context.notices,
    async () => {
      const question = { title: KEYS.revokeTitle(name), text: KEYS.revokeText(id), action: KEYS.revoke };
      if (!(await confirmed(question))) return;
      await context.api.keys.revoke(id);
      context.notices.say(KEYS.revoked(name));
      context.refresh();
    },
    "danger",
  );
}

function makeCreation(context: Context, galleries: readonly string[], isFirst: boolean): HTMLElement {
  const name = makeInput("text", { required: "", maxlength: "100" });
  name.id = "key-name";
  // A first key that may do less would lock everybody out.
  const scopes: readonly Scope[] = isFirst ? ["admin"] : ["search", "write", "admin"];
  const scope = makeSelect(scopes.map((each) => [each, KEYS.scopes[each]]));
  scope.id = "key-scope";
  const limited = galleries.map((gallery) => {
    const box = make("input");
    box.type = "checkbox";
    box.value = gallery;
    return make("label", "check", box, ` ${gallery}`);
  });
  const rate = makeInput("number", { min: "0.001", max: "1000000", step: "any" });
  const expires = makeInput("datetime-local");
  const choice = make("fieldset", "field", make("legend", "", KEYS.limitTo), make("div", "row", ...limited), makeHint(KEYS.limitHint));
  choice.hidden = isFirst || galleries.length === 0;
  const form = makeForm(
    context.notices,
    KEYS.create,
    async () => {
      const chosen = [...choice.querySelectorAll("input")].filter(({ checked }) => checked).map(({ value }) => value);
      const created = await context.api.keys.create({
        name: name.value.trim(),
        scopes: [scope.value as Scope],
        galleries: chosen.length > 0 ? chosen : null,
        requests_per_second: rate.value ? Number(rate.value) : null,
        expires_at: expires.value ? new Date(expires.value).toISOString() : null,
      });
      showSecret(context, created, isFirst);
    },
    make("div", "fields", makeField(KEYS.name, name, KEYS.nameHint), makeField(KEYS.scope, scope)),
    choice,
    make("div", "fields", makeField(KEYS.rate, rate, KEYS.rateHint), makeField(KEYS.expires, expires, KEYS.expiresHint)),
  );
  form.id = "key-form";
  return makePanel(KEYS.create, ...(isFirst ? [make("p", "notice", KEYS.firstKey)] : []), form);
}

/** The only time that the key is shown. `isFirst`: the server asks for a key from now on, so this page needs one. */
function showSecret(context: Context, { key, name }: CreatedKey, isFirst: boolean): void {
  const secret = make("output", "mono secret", key);
  secret.id = "new-key";
  const said = make("p", "hint");
  said.setAttribute("role", "status");
  const copy = makeButton(KEYS.copy, () => void copyText(key, secret).then((isDone) => (said.textContent = isDone ? KEYS.copied : KEYS.notCopied)));
  copy.classList.add("small", "primary");
  const close = makeButton(KEYS.kept, () => dialog.close());
  close.classList.add("small");
  const dialog = openDialog(
    KEYS.createdTitle(name),
    [make("p", "", KEYS.shownOnce), secret, make("div", "row", copy, close), said],
    () => {
      if (isFirst) context.useKey(key);
      else context.refresh();
    },
  );
  dialog.id = "secret";
  // Escape would lose the key by accident; browsers let a page prevent that once only, or never.
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape") event.preventDefault();
  });
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.dataset["keeps"] = "";
  copy.focus();
}

async function copyText(text: string, shown: HTMLElement): Promise<boolean> {
  try {
    // Browsers have no clipboard on addresses without https.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(shown);
    return false;
  }
}
