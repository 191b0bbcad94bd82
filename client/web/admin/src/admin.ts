/** The page: asks for the key where the server needs one, and shows the view that the address names. */

import { ProblemError } from "@askew/client";

import { find, make, makeButton } from "../../common/dom.js";
import { Api } from "./api/index.js";
import type { Context } from "./context.js";
import { makeKeyForm } from "./key-form.js";
import { MetricsHistory } from "./metrics/history.js";
import { fillNavigation, markNavigation } from "./navigation.js";
import { closeQuestions } from "./parts/dialogs.js";
import { isRefusedKey, makeProblem, Notices } from "./parts/notices.js";
import { Photos } from "./parts/photos.js";
import { readRoute, routeTo } from "./route.js";
import { type Access, findAccess, idOfKey, KeyStorage } from "./session.js";
import { ACCESS, COMMON, SHELL } from "./strings.js";
import { findView } from "./views/index.js";

/** What one key may see and has seen: all of it goes when the key does. */
interface Session {
  readonly api: Api;
  readonly access: Access;
  readonly photos: Photos;
  readonly history: MetricsHistory;
  readonly pagesBefore: Map<string, string>;
}

export class Admin {
  private readonly keys: KeyStorage;
  private readonly main = find("main");
  private readonly alerts = make("div", "alerts");
  private readonly view = make("div", "view");
  private readonly notices: Notices;
  private session: Session | undefined;
  private shown = new AbortController();

  constructor(private readonly base: string) {
    this.keys = new KeyStorage(new URL(".", base).pathname);
    this.notices = new Notices(find("toasts"), this.alerts, (problem) => this.askForKey({ kind: "refused", problem }));
    this.main.append(this.alerts, this.view);
    const skip = find("skip");
    skip.textContent = SHELL.skip;
    skip.addEventListener("click", (event) => {
      // The fragment of the address names the view.
      event.preventDefault();
      this.main.focus();
    });
    find("brand").textContent = SHELL.brand;
    const forget = find("forget");
    forget.textContent = SHELL.forgetKey;
    forget.addEventListener("click", () => this.forgetKey());
    fillNavigation(find("nav"));
  }

  /** Find out what the kept key may do, and show the view or the form that asks for a key. */
  async start(): Promise<void> {
    const key = this.keys.read();
    const api = new Api(this.base, key);
    let access: Access;
    try {
      access = await findAccess(api, key);
    } catch (error) {
      // Not the key's fault: the server loads, or is away.
      this.setState("failed");
      this.view.replaceChildren(makeProblem(error), makeButton(COMMON.retry, () => void this.start()));
      return;
    }
    if (access.kind === "refused") {
      if (key === undefined) this.askForKey();
      else this.askForKey(access);
      return;
    }
    this.session = {
      api,
      access,
      photos: new Photos(api, key !== undefined),
      history: new MetricsHistory(),
      pagesBefore: new Map(),
    };
    find("nav").hidden = false;
    find("who").textContent = key === undefined ? ACCESS.open : ACCESS.withKey(idOfKey(key), access);
    find("forget").hidden = key === undefined;
    await this.show();
  }

  /** Show the view that the address names. `isAnew`: the same view as before, with what the server says now. */
  async show(isAnew = false): Promise<void> {
    if (!this.session) return;
    this.shown.abort();
    if (!isAnew) closeQuestions();
    const shown = (this.shown = new AbortController());
    const route = readRoute(location.hash);
    const { title, show } = findView(route);
    if (!isAnew) this.notices.clear();
    markNavigation(find("nav"), route);
    this.setState("loading");
    const context: Context = {
      ...this.session,
      route,
      notices: this.notices,
      signal: shown.signal,
      // What ends after its view was left must not take away what is being typed in another.
      refresh: () => void (shown.signal.aborted || this.show(true)),
      useKey: (key) => this.useKey(key),
    };
    const into = make("div", "view-content");
    try {
      await show(into, context);
    } catch (error) {
      if (shown.signal.aborted) return;
      if (isRefusedKey(error)) {
        this.askForKey({ kind: "refused", problem: error });
        return;
      }
      into.replaceChildren(make("h1", "", title), this.makeFailure(error));
    }
    if (shown.signal.aborted) return;
    const hadFocus = this.view.contains(document.activeElement) || document.activeElement === document.body;
    this.view.replaceChildren(into);
    document.title = SHELL.title(into.querySelector("h1")?.textContent ?? title);
    if (hadFocus || !isAnew) this.focusHeading(into);
    if (!isAnew) scrollTo(0, 0);
    this.setState("ready");
  }

  private makeFailure(error: unknown): Node {
    const isLimit = error instanceof ProblemError && error.kind === "forbidden";
    const failure = makeProblem(error);
    if (isLimit) failure.prepend(make("p", "limited", ACCESS.beyondKey));
    else failure.append(makeButton(COMMON.retry, () => void this.show()));
    return failure;
  }

  private focusHeading(into: HTMLElement): void {
    const heading = into.querySelector<HTMLElement>("h1");
    if (!heading) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }

  private askForKey(refused?: Access & { kind: "refused" }): void {
    this.shown.abort();
    closeQuestions();
    this.session = undefined;
    this.keys.forget();
    this.notices.clear();
    for (const id of ["nav", "forget"]) find(id).hidden = true;
    find("who").textContent = "";
    document.title = SHELL.title(ACCESS.keyHeading);
    const { element, input } = makeKeyForm(refused, (key) => this.useKey(key));
    this.view.replaceChildren(element);
    this.setState("key");
    input.focus();
  }

  private useKey(key: string): void {
    this.keys.keep(key);
    void this.start();
  }

  private forgetKey(): void {
    this.keys.forget();
    location.hash = routeTo(["galleries"]);
    this.askForKey();
  }

  private setState(state: "loading" | "ready" | "key" | "failed"): void {
    document.body.dataset["state"] = state;
    this.main.setAttribute("aria-busy", String(state === "loading"));
  }
}
