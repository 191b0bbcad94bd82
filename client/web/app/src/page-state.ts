/** The state of the page, as `data-state` of the body: style and tests depend on it. */

export type State = "loading" | "ready" | "searching" | "found" | "nothing" | "waiting" | "failed";

export class PageState {
  /** The state while no search is shown. */
  private resting: State = "loading";

  /** Show a state that a search brings. */
  set(state: State): void {
    document.body.dataset["state"] = state;
  }

  /** Show that the page waits, or can be used. */
  rest(state: "loading" | "ready"): void {
    this.resting = state;
    this.set(state);
  }

  /** Note that the encoder is open, or failed; shown at once only if the page waits for it. */
  noteEncoder(state: "ready" | "failed"): void {
    this.resting = state;
    if (document.body.dataset["state"] === "loading") this.set(state);
  }

  /** Return to the state without a search. */
  returnToRest(): void {
    this.set(this.resting);
  }
}
