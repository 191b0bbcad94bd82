/** The views, by the first part of the address. */

import type { View } from "../context.js";
import type { Route } from "../route.js";
import { NAVIGATION, SHELL } from "../strings.js";
import { showAliases } from "./aliases.js";
import { showGalleries } from "./galleries.js";
import { showGallery } from "./gallery.js";
import { showJob, showJobs } from "./jobs.js";
import { showKeys } from "./keys.js";
import { showLive } from "./live.js";
import { showUnknown } from "./unknown.js";

export function findView({ parts }: Route): { readonly title: string; readonly show: View } {
  const [name = "galleries", inner] = parts;
  switch (name) {
    case "galleries":
      return { title: inner ?? NAVIGATION.galleries, show: inner === undefined ? showGalleries : showGallery };
    case "jobs":
      return { title: NAVIGATION.jobs, show: inner === undefined ? showJobs : showJob };
    case "live":
      return { title: NAVIGATION.live, show: showLive };
    case "aliases":
      return { title: NAVIGATION.aliases, show: showAliases };
    case "keys":
      return { title: NAVIGATION.keys, show: showKeys };
    default:
      return { title: SHELL.unknownView, show: showUnknown };
  }
}
