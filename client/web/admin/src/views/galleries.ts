/** All galleries: what is in each, and a new one. */

import { make, makeButton } from "../../../common/dom.js";
import { formatCount, formatMegabytes, shortenSpace } from "../../../common/format.js";
import { type Gallery, type IndexState } from "../api/index.js";
import type { Context, View } from "../context.js";
import { makeBadge, makeField, makeForm, makeHint, makeInput, makeLink, makePanel } from "../parts/controls.js";
import { openDialog } from "../parts/dialogs.js";
import { makeDeletion } from "../parts/gallery-deletion.js";
import { makeIndexState } from "../parts/index-state.js";
import { makeTable } from "../parts/table.js";
import { routeTo } from "../route.js";
import { ACCESS, COMMON, GALLERIES, NAVIGATION } from "../strings.js";

interface Row {
  readonly gallery: Gallery;
  readonly index: IndexState | undefined;
}

export const showGalleries: View = async (into, context) => {
  const { api, access, signal } = context;
  const { galleries, damaged, default_gallery } = await api.galleries.list(signal);
  const rows: Row[] = await Promise.all(
    galleries.map(async (gallery) => ({
      gallery,
      // A gallery that was deleted meanwhile, or that is busy, is no reason to show none.
      index: await api.galleries.index(gallery.name, signal).catch(() => undefined),
    })),
  );
  const head = make("div", "head", make("h1", "", NAVIGATION.galleries));
  const create = makeButton(GALLERIES.create, () => openCreation(context));
  create.classList.add("small", "primary");
  create.id = "create-gallery";
  // A limited key may make no other gallery.
  if (access.kind !== "limited") head.append(create);
  into.append(head);
  if (access.kind === "limited") into.append(makeHint(ACCESS.limitedTo(access.galleries)));
  const isDefault = ({ name, aliases }: Gallery) => default_gallery !== undefined && [name, ...aliases].includes(default_gallery);
  into.append(
    makeTable<Row>(
      NAVIGATION.galleries,
      [
        { name: GALLERIES.name, cell: ({ gallery }) => nameCell(gallery, isDefault(gallery)) },
        { name: GALLERIES.items, kind: "number", cell: ({ gallery }) => formatCount(gallery.items) },
        { name: GALLERIES.photos, kind: "number", cell: ({ gallery }) => formatCount(gallery.photos) },
        { name: GALLERIES.index, cell: ({ index }) => (index ? makeIndexState(index) : COMMON.unknown) },
        { name: GALLERIES.teacher, cell: ({ gallery }) => gallery.teacher },
        { name: GALLERIES.students, kind: "number", cell: ({ gallery }) => String(gallery.admitted_encoders.length) },
        { name: GALLERIES.space, cell: ({ gallery }) => spaceCell(gallery) },
      ],
      rows,
      GALLERIES.none,
      ({ gallery }) => gallery.name,
    ),
  );
  if (damaged.length > 0) {
    into.append(
      makePanel(
        GALLERIES.damaged,
        makeHint(GALLERIES.damagedHint),
        ...damaged.map(({ name, reason }) =>
          make("div", "notice", make("strong", "", name), make("p", "", reason), makeDeletion(context, name)),
        ),
      ),
    );
  }
};

function nameCell({ name, aliases }: Gallery, isDefault: boolean): (Node | string)[] {
  const cell: (Node | string)[] = [makeLink(name, routeTo(["galleries", name]), "strong")];
  if (isDefault) cell.push(" ", makeBadge(GALLERIES.isDefault));
  for (const alias of aliases) cell.push(" ", makeBadge(GALLERIES.alias(alias)));
  return cell;
}

function spaceCell({ space, dim }: Gallery): Node {
  const text = make("span", "mono", `${shortenSpace(space)} · ${dim}-d`);
  text.title = space;
  return text;
}

function openCreation(context: Context): void {
  const name = makeInput("text", { required: "", pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", autocapitalize: "off" });
  const file = makeInput("file", { required: "", accept: ".onnx" });
  const progress = make("p", "hint");
  const form = makeForm(
    context.notices,
    GALLERIES.create,
    async () => {
      const teacher = file.files?.[0];
      if (!teacher) return;
      try {
        await context.api.galleries.create(name.value, teacher, (sent, total) => {
          progress.textContent = sent < total ? COMMON.sent(formatMegabytes(sent), formatMegabytes(total)) : GALLERIES.checking;
        });
      } finally {
        // The failure is shown on the page below.
        dialog.close();
      }
      context.notices.say(GALLERIES.created(name.value));
      location.hash = routeTo(["galleries", name.value]);
    },
    makeField(GALLERIES.name, name, GALLERIES.nameHint),
    makeField(GALLERIES.teacherFile, file, GALLERIES.teacherFileHint),
    progress,
  );
  const cancel = makeButton(COMMON.cancel, () => dialog.close());
  cancel.classList.add("small");
  form.lastElementChild?.append(cancel);
  const dialog = openDialog(GALLERIES.create, [form]);
  name.focus();
}
