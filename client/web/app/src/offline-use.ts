/** The app without a network: what it knows of the connection, the gallery's copy on this device, and searches that wait. */

import { PackStore } from "@askew/client";

import { Connection } from "./connection.js";
import { find } from "./dom.js";
import { EarlierQueries } from "./earlier-queries.js";
import { formatCount, formatDate, formatShare } from "./format.js";
import { OfflineGallery, type OfflineState } from "./offline-gallery.js";
import { OfflinePanel } from "./offline-panel.js";
import type { Copy } from "./photo-search.js";
import { QueryQueue, type Waiting } from "./query-queue.js";
import { type EarlierQuery, QueryStore } from "./query-store.js";
import { RememberedServer } from "./remembered-server.js";
import type { Session } from "./session.js";
import type { DeviceStorage } from "./storage.js";
import { OFFLINE } from "./strings.js";

/** That the card which offers a copy of a gallery was dismissed, by the gallery's name. */
const DISMISSED = "offline-dismissed:";

export interface OfflineUseEvents {
  /** The session that is open now. */
  readonly session: () => Session;
  /** Called when the server answers again. */
  readonly onBack: () => void;
  /** Called when a search that waited was answered or refused. */
  readonly onAnswered: (query: EarlierQuery) => void;
  /** Called with an earlier search whose hits are to be shown. */
  readonly onOpen: (query: EarlierQuery) => void;
}

export class OfflineUse implements Copy {
  private readonly connection: Connection;
  private readonly panel: OfflinePanel;
  private readonly queries: QueryStore;
  private readonly queue: QueryQueue;
  private readonly earlier: EarlierQueries;
  private gallery: OfflineGallery | undefined;

  constructor(
    private readonly storage: DeviceStorage,
    path: string,
    private readonly events: OfflineUseEvents,
  ) {
    this.connection = new Connection(
      () => events.session().refresh(),
      () => this.noteConnection(),
    );
    this.panel = new OfflinePanel({
      onKeep: () => void this.gallery?.keep(),
      onPause: () => this.gallery?.pause(),
      onDelete: () => void this.gallery?.delete(),
      onDismiss: () => this.dismiss(),
    });
    this.queries = new QueryStore(path);
    this.queue = new QueryQueue(
      this.queries,
      () => events.session().client,
      (query) => this.noteAnswer(query),
    );
    this.earlier = new EarlierQueries(this.queries, events.onOpen);
    find("try-connection").addEventListener("click", () => this.connection.askNow());
  }

  get isOffline(): boolean {
    return this.connection.isOffline;
  }

  /** The copy of the gallery, open for searches; undefined if there is none. Throws DeviceError. */
  async open(): ReturnType<Copy["open"]> {
    return this.gallery?.open();
  }

  /** Note whether a request was answered. */
  note(isReached: boolean): void {
    this.connection.note(isReached);
  }

  /** A gallery was opened: see what is on this device for it, and send what waits. */
  async openGallery(): Promise<void> {
    this.close();
    const gallery = new OfflineGallery(this.events.session(), this.storage, (state) => this.show(state));
    this.gallery = gallery;
    void this.queue.send();
    await Promise.all([this.earlier.refresh(this.events.session().gallery.name), gallery.start()]);
  }

  /** Ask what the server offers now, and send what waits: it answers again. */
  catchUp(): void {
    void this.queue.send();
    void this.gallery?.check();
  }

  close(): void {
    this.gallery?.close();
    this.gallery = undefined;
  }

  /** Keep a search until there is a network; its id. Throws QueueFullError, DOMException. */
  async keepForLater(waiting: Waiting): Promise<number> {
    const gallery = this.events.session().gallery.name;
    const id = await this.queue.add(gallery, waiting);
    await this.earlier.refresh(gallery);
    return id;
  }

  /** Give up a search that waits, for example because another crop of the photo replaces it. */
  async giveUp(id: number): Promise<void> {
    const query = await this.queries.get(id);
    if (query?.state === "waiting") await this.queries.delete(id);
  }

  /** Delete all that the server has shown to this device. */
  async forget(session: Session): Promise<void> {
    this.close();
    new RememberedServer(this.storage).forget();
    await this.queries.deleteAll().catch(() => {});
    await new PackStore(session.client).deleteAll();
  }

  private noteConnection(): void {
    this.showConnection();
    if (!this.connection.isOffline) this.events.onBack();
  }

  private noteAnswer(query: EarlierQuery): void {
    void this.earlier.refresh(this.events.session().gallery.name);
    this.events.onAnswered(query);
  }

  private dismiss(): void {
    this.storage.keep(DISMISSED + this.events.session().gallery.name, "yes");
    if (this.gallery) this.show(this.gallery.state);
    find("open-camera").focus();
  }

  private show(state: OfflineState): void {
    this.panel.show(state, this.storage.read(DISMISSED + this.events.session().gallery.name) !== undefined);
    this.showConnection();
  }

  private showConnection(): void {
    const { isOffline } = this.connection;
    document.body.dataset["network"] = isOffline ? "offline" : "online";
    find("network").hidden = !isOffline;
    if (!isOffline) return;
    const header = this.gallery?.kept?.header;
    const isKnown = this.events.session().galleries.length > 0;
    const recall = header?.recall;
    find("network-badge").textContent = recall ? OFFLINE.badgeWithRecall(formatShare(recall.value)) : OFFLINE.badge;
    find("network-text").textContent = header
      ? OFFLINE.searchesHere(formatCount(header.items), formatDate(header.created_at))
      : isKnown
        ? OFFLINE.searchesLater
        : OFFLINE.nothingYet;
  }
}
