/** An address that names no view. */

import { make } from "../../../common/dom.js";
import type { View } from "../context.js";
import { makeLink } from "../parts/controls.js";
import { routeTo } from "../route.js";
import { NAVIGATION, SHELL } from "../strings.js";

export const showUnknown: View = (into) => {
  into.append(
    make("h1", "", SHELL.unknownView),
    make("p", "", SHELL.unknownViewDetail),
    make("p", "", makeLink(NAVIGATION.galleries, routeTo(["galleries"]))),
  );
};
