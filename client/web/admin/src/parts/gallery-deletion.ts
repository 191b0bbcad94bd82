/** The button that deletes a gallery, once its name is typed. */

import type { Context } from "../context.js";
import { routeTo } from "../route.js";
import { GALLERY } from "../strings.js";
import { makeAction } from "./controls.js";
import { confirmed } from "./dialogs.js";

export function makeDeletion({ api, notices, refresh }: Context, name: string): HTMLButtonElement {
  return makeAction(
    GALLERY.delete,
    notices,
    async () => {
      const question = { title: GALLERY.deleteTitle(name), text: GALLERY.deleteText, action: GALLERY.delete, typed: name };
      if (!(await confirmed(question))) return;
      await api.galleries.delete(name);
      notices.say(GALLERY.deleted(name));
      const list = routeTo(["galleries"]);
      if (location.hash === list) refresh();
      else location.hash = list;
    },
    "danger",
  );
}
