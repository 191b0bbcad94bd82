/** The dialog with earlier searches: those that wait for a network, and what the others found. */

import { find, make, makeButton } from "./dom.js";
import { formatTime } from "./format.js";
import type { EarlierQuery, QueryStore } from "./query-store.js";
import { EARLIER, RESULTS } from "./strings.js";

export class EarlierQueries {
  private readonly dialog = find<HTMLDialogElement>("earlier");
  private readonly opener = find<HTMLButtonElement>("open-earlier");
  private readonly list = find("earlier-list");
  private queries: readonly EarlierQuery[] = [];
  private gallery = "";

  /** `onOpen`: called with an answered search whose hits are to be shown. */
  constructor(
    private readonly store: QueryStore,
    private readonly onOpen: (query: EarlierQuery) => void,
  ) {
    this.opener.addEventListener("click", () => {
      this.dialog.showModal();
      void this.refresh(this.gallery);
    });
    find("earlier-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    find("delete-earlier").addEventListener("click", () => void this.delete(...this.queries));
  }

  /** Show those of a gallery as they are now. */
  async refresh(gallery: string): Promise<void> {
    this.gallery = gallery;
    // A browser may refuse its storage: then there are none.
    const all = await this.store.all().catch(() => []);
    if (gallery !== this.gallery) return;
    this.queries = all.filter((query) => query.gallery === gallery);
    this.opener.hidden = this.queries.length === 0;
    this.opener.textContent = EARLIER.open(this.queries.length);
    this.opener.dataset["waiting"] = String(this.queries.filter(({ state }) => state === "waiting").length);
    this.list.replaceChildren(...this.queries.map((query) => this.makeEntry(query)));
    if (this.queries.length === 0 && this.dialog.open) this.dialog.close();
  }

  private makeEntry(query: EarlierQuery): HTMLLIElement {
    const name = make("p", "earlier-name", query.label);
    name.dir = "auto";
    const facts = make("p", "hint", `${formatTime(query.time)} · ${describe(query)}`);
    const entry = make("li", "earlier-entry", make("div", "earlier-text", name, facts));
    entry.dataset["state"] = query.state;
    if (query.state === "answered" && query.hits.length > 0) {
      const open = makeButton(EARLIER.show, () => {
        this.dialog.close();
        this.onOpen(query);
      });
      open.setAttribute("aria-label", EARLIER.showNamed(query.label));
      open.dataset["action"] = "show";
      entry.append(open);
    }
    const remove = makeButton(EARLIER.delete, () => void this.delete(query));
    remove.classList.add("quiet");
    remove.setAttribute("aria-label", EARLIER.deleteNamed(query.label));
    remove.dataset["action"] = "delete";
    entry.append(remove);
    return entry;
  }

  private async delete(...queries: readonly EarlierQuery[]): Promise<void> {
    for (const { id } of queries) await this.store.delete(id).catch(() => {});
    await this.refresh(this.gallery);
    if (this.dialog.open) find("earlier-close").focus();
  }
}

function describe({ hits, reason, state }: EarlierQuery): string {
  if (state === "waiting") return EARLIER.waiting;
  if (state === "refused") return reason ?? "";
  return hits.length === 0 ? EARLIER.nothing : RESULTS.hits(hits.length);
}
