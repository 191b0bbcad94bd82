/** The state of a gallery's index, in a badge. */

import type { IndexState } from "../api/index.js";
import { INDEX } from "../strings.js";
import { makeBadge } from "./controls.js";

export function makeIndexState({ building, failure, kind, state }: IndexState): (Node | string)[] {
  if (building) return [makeBadge(INDEX.building, "busy"), ` ${kind}`];
  if (failure || state === "damaged") return [makeBadge(INDEX.failed, "bad"), ` ${kind}`];
  return [state === "ready" ? makeBadge(INDEX.ready, "good") : makeBadge(INDEX.unverified), ` ${kind}`];
}
