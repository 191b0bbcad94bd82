/** The app: what happens when a gallery opens, a photo is taken, an item is pressed, or something fails. */

import { isUnreachable } from "@askew/client";

import type { Entry } from "./cards.js";
import { Details } from "./details.js";
import { find } from "./dom.js";
import type { LoadingStage } from "./encoder-loader.js";
import { Failures } from "./failures.js";
import { formatMegabytes } from "./format.js";
import { hideFigures, showFigures } from "./figures.js";
import { GalleryChoice } from "./gallery-choice.js";
import { GalleryItems, pagesOfPack, pagesOfServer } from "./gallery-items.js";
import { Installation } from "./installation.js";
import { forgetKey, keepKey, takeKey } from "./key.js";
import { isReplaced } from "./notices.js";
import { OfflineUse } from "./offline-use.js";
import { PageState } from "./page-state.js";
import { type Found, MAX_HITS, type Outcome, PhotoSearch } from "./photo-search.js";
import { Progress } from "./progress.js";
import { QueueFullError } from "./query-queue.js";
import type { EarlierQuery } from "./query-store.js";
import { Results, type View } from "./results.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { Stage } from "./stage.js";
import { DeviceStorage } from "./storage.js";
import { PROGRESS } from "./strings.js";
import { Thumbnails } from "./thumbnails.js";
import { earlierView, hitsView, itemsView, similarAtServer, similarInPack, waitingView } from "./views.js";

/** Where the focus is after a search: it does not move while a person still changes the crop. */
type Focus = "goes to the results" | "stays";

// A crop is searched when it has not changed for this long, in milliseconds.
const CROP_REST = 500;

export class App {
  private readonly storage: DeviceStorage;
  private readonly state = new PageState();
  private readonly progress = new Progress();
  private readonly failures = new Failures({ onKey: (key) => this.useKey(key), onAllow: () => this.searchAtServer() });
  private readonly galleryChoice = new GalleryChoice((name) => this.chooseGallery(name));
  private readonly details = new Details((entry) => void this.showSimilar(entry));
  private readonly settings: Settings;
  private readonly offline: OfflineUse;
  private readonly installation: Installation;
  private readonly stage: Stage;
  private readonly results: Results;
  private session: Session;
  private thumbnails: Thumbnails;
  private search: PhotoSearch;
  private items: GalleryItems | undefined;
  private searching = new AbortController();
  private cropTimer: ReturnType<typeof setTimeout> | undefined;
  /** Whether this photo is searched without a threshold. */
  private showsNearest = false;
  /** The search that is shown as waiting for a network, with its photo. */
  private waiting: { readonly id: number; readonly photo: Blob } | undefined;

  /** `server`: its address, with the path prefix if it has one. */
  constructor(private readonly server: URL) {
    this.storage = new DeviceStorage(server.pathname);
    this.session = this.openSession(takeKey(this.storage));
    this.thumbnails = new Thumbnails(this.session);
    this.offline = new OfflineUse(this.storage, server.pathname, {
      session: () => this.session,
      onBack: () => void this.catchUp(),
      onAnswered: (query) => this.noteAnswer(query),
      onOpen: (query) => this.showEarlier(query, "goes to the results"),
    });
    this.installation = new Installation(
      (state) => this.settings.showInstallation(state),
      (takeOver) => this.offerNewVersion(takeOver),
    );
    this.search = this.makeSearch();
    this.settings = new Settings(this.storage, {
      onThreshold: () => this.showNearest(false, "stays"),
      onForgetKey: () => this.useKey(undefined),
    });
    this.stage = new Stage({
      onPhoto: () => this.showNearest(false, "goes to the results"),
      onCrop: () => this.waitForCrop(),
      onCameraFailure: (error) => this.tell(error, () => void this.stage.openCamera()),
    });
    this.results = new Results(this.thumbnails, {
      onOpen: (entry, opener) => this.details.show(entry, this.thumbnails, opener),
      onNearest: () => this.showNearest(true, "goes to the results"),
      onMore: () => void this.showMoreItems(),
      onBack: (view) => this.noteBack(view),
    });
    addEventListener("hashchange", () => this.takeKeyFromAddress());
    find("open-settings").addEventListener("click", () => {
      const { current, galleries, key } = this.session;
      this.settings.show(galleries.length > 0 ? this.session.gallery : undefined, current, key !== undefined);
    });
  }

  /** Make the app installable, once the page has what it needs. */
  install(): Promise<void> {
    return this.installation.start();
  }

  /** List the galleries and open one. */
  async start(): Promise<void> {
    const { session } = this;
    this.state.rest("loading");
    try {
      const gallery = await session.start();
      if (session !== this.session) return;
      this.galleryChoice.show(session.galleries, gallery);
      this.failures.clear();
      await this.openGallery("goes to the results");
    } catch (error) {
      if (session === this.session) this.fail(error, () => void this.start());
    }
  }

  private openSession(key: string | undefined): Session {
    const onStage = (stage: LoadingStage) => this.progress.show(stage);
    return new Session(this.server, key, this.storage, onStage, (isReached) => this.offline.note(isReached));
  }

  private makeSearch(): PhotoSearch {
    return new PhotoSearch(this.session, this.offline, (encoder) => this.failures.tellSwitch(encoder));
  }

  /** A link with a key may be opened while the app is open. */
  private takeKeyFromAddress(): void {
    const key = takeKey(this.storage);
    if (key !== this.session.key) this.useKey(key);
  }

  private useKey(key: string | undefined): void {
    // What a key has shown goes with it.
    if (this.session.key !== undefined) void this.offline.forget(this.session);
    if (key === undefined) forgetKey(this.storage);
    else keepKey(this.storage, key);
    this.searching.abort();
    this.offline.close();
    this.session.close();
    this.session = this.openSession(key);
    this.search = this.makeSearch();
    this.failures.clear();
    this.clearResults();
    void this.start();
  }

  private chooseGallery(name: string): void {
    this.searching.abort();
    this.session.choose(name);
    this.failures.clear();
    // The permission was given because of the other gallery's encoders.
    this.failures.permission.withdraw();
    void this.openGallery("stays");
  }

  /** Resolves when the encoder is open, or failed, or a search waits for it. */
  private async openGallery(focus: Focus): Promise<void> {
    this.clearResults();
    this.items = new GalleryItems(pagesOfServer(this.session.client, this.session.gallery.name));
    void this.offline.openGallery();
    void this.showMoreItems();
    if (this.stage.photo) this.showNearest(false, focus);
    else await this.loadEncoder();
  }

  private clearResults(): void {
    this.items = undefined;
    this.thumbnails = new Thumbnails(this.session);
    this.results.clear(this.thumbnails);
    this.results.setBusy(false);
    hideFigures();
  }

  private async showMoreItems(): Promise<void> {
    const { items } = this;
    if (!items) return;
    const isFirst = items.entries.length === 0;
    try {
      const added = await items.readNext();
      if (items !== this.items) return;
      const view = itemsView(this.session.gallery, items.entries, items.hasMore);
      if (isFirst) this.results.setBase(view);
      else this.results.extendBase(view, added);
    } catch (error) {
      if (items !== this.items) return;
      if (!isUnreachable(error)) this.tell(error, () => void this.showMoreItems());
      else if (isFirst) await this.showItemsOfCopy(items);
    }
  }

  /** Show the items of the copy on this device, if there is one: the server does not answer. */
  private async showItemsOfCopy(items: GalleryItems): Promise<void> {
    const pack = await this.offline.open().catch(() => undefined);
    if (!pack || items !== this.items) return;
    this.items = new GalleryItems(pagesOfPack(pack));
    await this.showMoreItems();
  }

  /** The server answers again: do what could not be done without it. */
  private async catchUp(): Promise<void> {
    const { current, galleries } = this.session;
    if (galleries.length === 0) {
      this.failures.clear();
      return this.start();
    }
    this.offline.catchUp();
    if (this.items?.entries.length === 0) void this.showMoreItems();
    const isForeign = current && current.description.space !== this.session.gallery.space;
    if (current && !isForeign) return;
    this.failures.clear();
    await this.session.renewEncoder().then(
      () => this.state.noteEncoder("ready"),
      (error) => this.fail(error, () => void this.loadEncoder()),
    );
  }

  private async loadEncoder(): Promise<void> {
    this.state.rest("loading");
    try {
      const { description, isKept } = await this.session.encoder();
      this.state.noteEncoder("ready");
      if (!isKept && globalThis.caches) this.failures.tellNotKept(formatMegabytes(description.size));
    } catch (error) {
      if (isReplaced(error)) return;
      this.state.noteEncoder("failed");
      // A search that waits for the encoder tells of the failure itself.
      if (!this.stage.photo) this.fail(error, () => void this.loadEncoder());
    }
  }

  private waitForCrop(): void {
    clearTimeout(this.cropTimer);
    this.cropTimer = setTimeout(() => void this.searchPhoto("stays"), CROP_REST);
  }

  private searchAtServer(): void {
    if (this.stage.photo) void this.searchPhoto("goes to the results");
    else this.state.rest("ready");
  }

  /** Search the photo, with the threshold or without. The choice holds until the next photo, also for its crops. */
  private showNearest(showsNearest: boolean, focus: Focus): void {
    this.showsNearest = showsNearest;
    void this.searchPhoto(focus);
  }

  private async searchPhoto(focus: Focus): Promise<void> {
    const { crop, photo } = this.stage;
    // A photo that is taken before the galleries are known is searched when one opens.
    if (!photo || this.session.galleries.length === 0) return;
    const isSent = this.failures.permission.isGiven;
    const here = this.session.current ? PROGRESS.describing : PROGRESS.waiting;
    const signal = this.beginSearch(isSent ? PROGRESS.sending : here);
    hideFigures();
    const query = { photo, crop, maxFalseMatch: this.showsNearest ? undefined : this.settings.maxFalseMatch };
    try {
      const outcome: Outcome = isSent ? await this.search.onServer(query, signal) : await this.search.onDevice(query, signal);
      if (signal.aborted) return;
      if ("waiting" in outcome) await this.keepForLater(outcome, photo, signal);
      else this.showFound(outcome, photo, focus);
    } catch (error) {
      if (signal.aborted) return;
      this.results.dropHits();
      this.fail(error, () => void this.searchPhoto(focus));
    }
  }

  /** Keep the search until there is a network, in the place of an earlier one of the same photo. */
  private async keepForLater({ cause, waiting }: Exclude<Outcome, Found>, photo: Blob, signal: AbortSignal): Promise<void> {
    if (this.waiting?.photo === photo) await this.offline.giveUp(this.waiting.id).catch(() => {});
    const id = await this.offline.keepForLater(waiting).catch((error: unknown) => {
      // Where the browser keeps nothing, the search has just failed.
      throw error instanceof QueueFullError ? error : cause;
    });
    this.waiting = { id, photo };
    if (signal.aborted) return;
    this.state.noteEncoder("ready");
    this.endSearch();
    this.state.set("waiting");
    this.results.showHits(waitingView(), true);
  }

  private noteAnswer(query: EarlierQuery): void {
    const isShown = query.id === this.waiting?.id && document.body.dataset["state"] === "waiting";
    if (!isShown) return;
    if (query.state === "answered") this.showEarlier(query, "stays");
    else void this.searchPhoto("stays");
  }

  private showEarlier(query: EarlierQuery, focus: Focus): void {
    this.searching.abort();
    this.endSearch();
    const view = earlierView(query);
    this.state.set(view.state);
    hideFigures();
    this.results.showHits(view, focus === "goes to the results");
  }

  private offerNewVersion(takeOver: () => void): void {
    find("new-version").hidden = false;
    find("take-over").addEventListener("click", takeOver, { once: true });
  }

  private showFound(found: Found, photo: Blob, focus: Focus): void {
    const view = hitsView(this.session.gallery, found);
    this.state.noteEncoder("ready");
    this.endSearch();
    this.state.set(view.state);
    showFigures(found, photo.size);
    this.results.showHits(view, focus === "goes to the results");
  }

  private async showSimilar(entry: Entry): Promise<void> {
    const signal = this.beginSearch(PROGRESS.similar);
    try {
      const view = await this.findSimilar(entry, signal);
      if (signal.aborted) return;
      this.endSearch();
      this.state.set(view.state);
      this.results.push(view);
    } catch (error) {
      if (!signal.aborted) this.fail(error, () => void this.showSimilar(entry));
    }
  }

  private async findSimilar(entry: Entry, signal: AbortSignal): Promise<View> {
    const { client, gallery } = this.session;
    try {
      return similarAtServer(entry, await client.similar(gallery.name, entry.id, { limit: MAX_HITS, signal }));
    } catch (error) {
      const pack = isUnreachable(error) ? await this.offline.open() : undefined;
      const hits = await pack?.similar(entry.id, MAX_HITS);
      if (!pack || !hits) throw error;
      return similarInPack(entry, pack, hits);
    }
  }

  /** An earlier view is shown again: a search that still runs must not replace it. */
  private noteBack({ state }: View): void {
    this.searching.abort();
    this.endSearch();
    if (state === "ready") this.state.returnToRest();
    else this.state.set(state);
  }

  /** Give up the search before, and show that one runs. */
  private beginSearch(sentence: string): AbortSignal {
    clearTimeout(this.cropTimer);
    this.searching.abort();
    this.searching = new AbortController();
    this.failures.clear();
    this.progress.announce(sentence);
    find("searching").textContent = sentence;
    this.results.setBusy(true);
    this.state.set("searching");
    return this.searching.signal;
  }

  private endSearch(): void {
    this.results.setBusy(false);
    this.progress.announce("");
  }

  private fail(error: unknown, retry: () => void): void {
    if (isReplaced(error)) return;
    this.progress.hide();
    this.endSearch();
    this.state.set("failed");
    this.tell(error, retry);
  }

  private tell(error: unknown, retry: () => void): void {
    const { galleries, key } = this.session;
    const canServerDescribe = galleries.length > 0 && this.session.gallery.describes_photos;
    this.failures.tell(error, { hasKey: key !== undefined, canServerDescribe }, retry);
  }
}
