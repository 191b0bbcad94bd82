/** One gallery: its heading, the links to its sections, and the section that the address names. */

import { make } from "../../../common/dom.js";
import { formatCount } from "../../../common/format.js";
import type { View } from "../context.js";
import { makeLink } from "../parts/controls.js";
import { routeTo } from "../route.js";
import { GALLERY_SECTIONS } from "../sections/index.js";
import { GALLERY, NAVIGATION } from "../strings.js";
import { showUnknown } from "./unknown.js";

export const showGallery: View = async (into, context) => {
  const [, name = "", slug = ""] = context.route.parts;
  const section = GALLERY_SECTIONS.find((each) => each.slug === slug);
  if (!section) return showUnknown(into, context);
  const gallery = await context.api.galleries.get(name, context.signal);
  const crumbs = make("nav", "crumbs", makeLink(NAVIGATION.galleries, routeTo(["galleries"])));
  crumbs.setAttribute("aria-label", GALLERY.crumbs);
  const tabs = make("nav", "tabs");
  tabs.setAttribute("aria-label", GALLERY.sections(gallery.name));
  for (const each of GALLERY_SECTIONS) {
    const link = makeLink(each.name, routeTo(["galleries", name, ...(each.slug ? [each.slug] : [])]));
    link.dataset["section"] = each.slug || "overview";
    if (each === section) link.setAttribute("aria-current", context.route.parts.length > 3 ? "true" : "page");
    tabs.append(link);
  }
  const heading = make("h1", "", gallery.name);
  const count = make("p", "hint", GALLERY.counts(formatCount(gallery.items), formatCount(gallery.photos)));
  into.append(crumbs, make("div", "head", heading, count), tabs);
  const content = make("div", "section");
  into.append(content);
  await section.show(content, context, gallery);
};
