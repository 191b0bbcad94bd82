/** What every view is given. */

import type { Api } from "./api/index.js";
import type { MetricsHistory } from "./metrics/history.js";
import type { Notices } from "./parts/notices.js";
import type { Photos } from "./parts/photos.js";
import type { Route } from "./route.js";
import type { Access } from "./session.js";

export interface Context {
  readonly api: Api;
  readonly access: Access;
  readonly route: Route;
  readonly notices: Notices;
  readonly photos: Photos;
  readonly history: MetricsHistory;
  /** The fragment of the page before, by that of a page of items. */
  readonly pagesBefore: Map<string, string>;
  /** Ends when the view is left or shown anew. */
  readonly signal: AbortSignal;
  /** Show the same view again, with what the server says now. */
  refresh(): void;
  /** Work with another key for the rest of the session. */
  useKey(key: string): void;
}

/** Fills an element that is shown once this is done. What it throws is shown in its place. */
export type View = (into: HTMLElement, context: Context) => Promise<void> | void;
