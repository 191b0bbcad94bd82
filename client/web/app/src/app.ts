/** The app: what happens when a gallery opens, a photo is taken, an item is pressed, or something fails. */

import type { Entry } from "./cards.js";
import { Details } from "./details.js";
import { find } from "./dom.js";
import { Failures } from "./failures.js";
import { formatMegabytes } from "./format.js";
import { hideFigures, showFigures } from "./figures.js";
import { GalleryChoice } from "./gallery-choice.js";
import { GalleryItems } from "./gallery-items.js";
import { forgetKey, keepKey, takeKey } from "./key.js";
import { isReplaced } from "./notices.js";
import { PageState } from "./page-state.js";
import { type Found, MAX_HITS, PhotoSearch } from "./photo-search.js";
import { Progress } from "./progress.js";
import { Results, type View } from "./results.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { Stage } from "./stage.js";
import { DeviceStorage } from "./storage.js";
import { PROGRESS } from "./strings.js";
import { Thumbnails } from "./thumbnails.js";
import { hitsView, itemsView, similarView } from "./views.js";

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

  /** `server`: its address, with the path prefix if it has one. */
  constructor(private readonly server: URL) {
    this.storage = new DeviceStorage(server.pathname);
    this.session = this.openSession(takeKey(this.storage));
    this.thumbnails = new Thumbnails(this.session);
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

  /** List the galleries and open one. */
  async start(): Promise<void> {
    const { session } = this;
    this.state.rest("loading");
    try {
      const gallery = await session.start();
      if (session !== this.session) return;
      this.galleryChoice.show(session.galleries, gallery);
      this.openGallery("goes to the results");
    } catch (error) {
      if (session === this.session) this.fail(error, () => void this.start());
    }
  }

  private openSession(key: string | undefined): Session {
    return new Session(this.server, key, this.storage, (stage) => this.progress.show(stage));
  }

  private makeSearch(): PhotoSearch {
    return new PhotoSearch(this.session, (encoder) => this.failures.tellSwitch(encoder));
  }

  /** A link with a key may be opened while the app is open. */
  private takeKeyFromAddress(): void {
    const key = takeKey(this.storage);
    if (key !== this.session.key) this.useKey(key);
  }

  private useKey(key: string | undefined): void {
    if (key === undefined) forgetKey(this.storage);
    else keepKey(this.storage, key);
    this.searching.abort();
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
    this.openGallery("stays");
  }

  private openGallery(focus: Focus): void {
    this.clearResults();
    this.items = new GalleryItems(this.session.client, this.session.gallery.name);
    void this.showMoreItems();
    if (this.stage.photo) this.showNearest(false, focus);
    else void this.loadEncoder();
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
      if (items === this.items) this.tell(error, () => void this.showMoreItems());
    }
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
      const found = isSent ? await this.search.onServer(query, signal) : await this.search.onDevice(query, signal);
      if (!signal.aborted) this.showFound(found, photo, focus);
    } catch (error) {
      if (signal.aborted) return;
      this.results.dropHits();
      this.fail(error, () => void this.searchPhoto(focus));
    }
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
      const { client, gallery } = this.session;
      const answer = await client.similar(gallery.name, entry.id, { limit: MAX_HITS, signal });
      if (signal.aborted) return;
      const view = similarView(entry, answer);
      this.endSearch();
      this.state.set(view.state);
      this.results.push(view);
    } catch (error) {
      if (!signal.aborted) this.fail(error, () => void this.showSimilar(entry));
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
