/** Live charts of the whole server, from `/metrics`, read every few seconds while somebody looks. */

import { ProblemError } from "@askew/client";

import { make } from "../../../common/dom.js";
import type { Context, View } from "../context.js";
import { READ_EVERY_SECONDS } from "../metrics/history.js";
import { Reading } from "../metrics/reading.js";
import { makeField, makeHint, makeSelect } from "../parts/controls.js";
import { keepTrying } from "../parts/notices.js";
import { poll } from "../parts/polling.js";
import { ACCESS, LIVE, NAVIGATION } from "../strings.js";
import { makeLatency, makeRejections, makeSearches, makeServerTiles, makeTopScores } from "./live-charts.js";

export const showLive: View = async (into, context) => {
  const head = make("div", "head", make("h1", "", NAVIGATION.live), makeHint(LIVE.hint(READ_EVERY_SECONDS)));
  into.append(head);
  try {
    await read(context);
  } catch (error) {
    if (!(error instanceof ProblemError) || error.kind !== "forbidden") throw error;
    into.append(make("p", "limited", ACCESS.metricsBeyondKey), makeHint(error.message));
    return;
  }
  const { history, notices, signal } = context;
  const all = [["", LIVE.allGalleries]] as const;
  const names = history.latest?.labelValues("askew_index_vectors", "gallery") ?? [];
  const gallery = makeSelect([...all, ...names.map((name) => [name, name] as const)]);
  gallery.id = "live-gallery";
  const trouble = make("div");
  const content = make("div", "live");
  const draw = (): void => {
    const chosen = gallery.value || undefined;
    content.replaceChildren(
      makeServerTiles(history),
      make(
        "div",
        "charts",
        makeSearches(history, chosen),
        makeLatency(history),
        makeRejections(history, chosen),
        makeTopScores(history, chosen),
      ),
    );
    content.dataset["readings"] = String(history.steps.length);
  };
  gallery.addEventListener("change", draw);
  head.append(makeField(LIVE.gallery, gallery));
  into.append(trouble, content);
  draw();
  poll(signal, () => READ_EVERY_SECONDS, () =>
    keepTrying(notices, trouble, async () => {
      await read(context);
      draw();
    }),
  );
};

async function read({ api, history, signal }: Context): Promise<void> {
  const text = await api.metrics.read(signal);
  history.add(new Reading(text), performance.now() / 1000);
}
