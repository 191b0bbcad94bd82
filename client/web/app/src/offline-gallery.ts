/** The chosen gallery's copy on this device: whether there is one, how it comes and goes, and the search in it. */

import {
  DeviceError,
  type KeptPack,
  OfflinePack,
  type OfflinePackDescription,
  PackStore,
  ProblemError,
  isUnreachable,
} from "@askew/client";

import { isReplaced } from "./notices.js";
import type { Session } from "./session.js";
import type { DeviceStorage } from "./storage.js";

/**
 * - `none`: the server offers no copy, and none is here; `isWithdrawn`: one was here, and was deleted
 * - `offered`: the person may keep a copy of `size` bytes
 * - `fetching`: it comes; `done` of `total` bytes are here
 * - `paused`: the person stopped it; `interrupted`: the network did
 * - `kept`: it is here; `isUpdating`: a newer version comes
 * - `failed`: it could not be kept; `message` says why
 */
export type OfflineState =
  | { readonly kind: "none"; readonly isWithdrawn: boolean }
  | { readonly kind: "offered"; readonly size: number; readonly items: number }
  | { readonly kind: "fetching" | "paused" | "interrupted"; readonly done: number; readonly total: number }
  | { readonly kind: "kept"; readonly pack: KeptPack; readonly isUpdating: boolean }
  | { readonly kind: "failed"; readonly message: string };

/** Whether the person wants a copy of a gallery, by its name; "paused": wanted, but not now. */
const WISH = "offline:";

// Seconds until the server is asked again, while it prepares a copy, or after a connection that broke.
const SHORTEST_WAIT = 10;

export class OfflineGallery {
  private readonly store: PackStore;
  private readonly gallery: string;
  private current: OfflineState = { kind: "none", isWithdrawn: false };
  private pack: KeptPack | undefined;
  private description: OfflinePackDescription | undefined;
  private reading: Promise<void> = Promise.resolve();
  private opened: Promise<OfflinePack | undefined> | undefined;
  private fetching: AbortController | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isWithdrawn = false;
  private isClosed = false;

  /** `onChange`: called with each state. */
  constructor(
    private readonly session: Session,
    private readonly storage: DeviceStorage,
    private readonly onChange: (state: OfflineState) => void,
  ) {
    this.store = new PackStore(session.client);
    this.gallery = session.gallery.name;
  }

  get state(): OfflineState {
    return this.current;
  }

  /** What is kept on this device; undefined if there is nothing. */
  get kept(): KeptPack | undefined {
    return this.pack;
  }

  /** See what is here, and ask the server. */
  async start(): Promise<void> {
    this.show();
    if (!this.store.isUsable) return;
    this.reading = this.readKept();
    await this.reading;
    await this.check();
  }

  /** Ask the server what it offers now: a newer version, which comes by itself, or nothing any more. */
  async check(): Promise<void> {
    if (this.isClosed || this.fetching || !this.store.isUsable) return;
    clearTimeout(this.timer);
    // Not asked where none is offered: browsers report each 404 as an error.
    if (!this.session.gallery.offline_pack && !this.pack) return;
    try {
      this.description = await this.session.client.offlinePack(this.gallery);
    } catch (error) {
      if (error instanceof ProblemError) await this.noteNoOffer(error);
      return;
    }
    if (this.isClosed) return;
    if (this.description.items === 0 || this.description.sha256 === this.pack?.sha256) return this.show();
    if (this.wish === "wanted") return this.fetch();
    const done = await this.store.fetchedBytes(this.description);
    if (this.wish === "paused" && !this.pack) this.set({ kind: "paused", done, total: this.description.size });
    else this.show();
  }

  /** Keep a copy, or go on with one that is not complete. */
  async keep(): Promise<void> {
    this.storage.keep(WISH + this.gallery, "wanted");
    // So that the browser does not clear it when it needs room; it may refuse.
    void navigator.storage?.persist?.().catch(() => false);
    if (this.description) await this.fetch();
    else await this.check();
  }

  pause(): void {
    this.storage.keep(WISH + this.gallery, "paused");
    this.fetching?.abort();
  }

  /** Delete the copy from this device. */
  async delete(): Promise<void> {
    this.storage.forget(WISH + this.gallery);
    this.fetching?.abort();
    await this.drop();
    await this.check();
  }

  /** The copy, open for searches; undefined if there is none that can be used. Throws DeviceError. */
  open(): Promise<OfflinePack | undefined> {
    this.opened ??= this.openKept();
    return this.opened;
  }

  /** Stop what is under way: another gallery or key was chosen. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.fetching?.abort();
    this.closePack();
  }

  private async readKept(): Promise<void> {
    this.pack = await this.store.kept(this.gallery);
    this.show();
  }

  private get wish(): string | undefined {
    return this.storage.read(WISH + this.gallery);
  }

  private async openKept(): Promise<OfflinePack | undefined> {
    await this.reading;
    if (!this.pack) {
      this.opened = undefined;
      return undefined;
    }
    try {
      return await this.store.open(this.pack);
    } catch (error) {
      this.opened = undefined;
      if (!(error instanceof DeviceError) || error.kind !== "damaged-pack") throw error;
      // It is of no use any more; where there is a network, it comes again.
      await this.drop();
      this.set({ kind: "failed", message: error.message });
      void this.check();
      throw error;
    }
  }

  private async noteNoOffer(problem: ProblemError): Promise<void> {
    const isWithdrawn = problem.kind === "no-offline-pack" && problem.members["allowed"] === false;
    if (isWithdrawn || problem.kind === "unknown-gallery") {
      this.storage.forget(WISH + this.gallery);
      this.isWithdrawn = this.pack !== undefined;
      this.description = undefined;
      await this.drop();
    } else if (problem.kind === "no-offline-pack" && problem.retryAfter !== undefined) {
      const seconds = Math.max(SHORTEST_WAIT, problem.retryAfter);
      this.timer = setTimeout(() => void this.check(), 1000 * seconds);
    }
    if (!isUnreachable(problem)) this.show();
  }

  private async fetch(): Promise<void> {
    const { description } = this;
    if (!description || this.fetching) return;
    const fetching = (this.fetching = new AbortController());
    this.showFetching(await this.store.fetchedBytes(description), description.size);
    try {
      const pack = await this.fetchAlone(description, fetching.signal);
      if (this.isClosed) return;
      this.closePack();
      this.pack = pack;
      this.fetching = undefined;
      // At once: then it is known to open, and its worker's script is here before the network is gone.
      await this.open();
      this.show();
    } catch (error) {
      this.fetching = undefined;
      if (!this.isClosed) this.explain(error, description);
    }
  }

  /** One tab fetches at a time; another one waits, and then finds what it fetched. */
  private async fetchAlone(description: OfflinePackDescription, signal: AbortSignal): Promise<KeptPack> {
    const fetch = () => this.store.fetch(description, (done, total) => this.showFetching(done, total), signal);
    const { locks } = navigator as { readonly locks?: LockManager };
    return locks ? locks.request(`askew-pack:${this.session.client.address}${this.gallery}`, { signal }, fetch) : fetch();
  }

  private explain(error: unknown, { size: total }: OfflinePackDescription): void {
    const { done = 0 } = this.current as { readonly done?: number };
    if (this.pack && !(error instanceof DeviceError)) this.show();
    else if (isReplaced(error)) this.set({ kind: "paused", done, total });
    else if (isUnreachable(error)) {
      this.set({ kind: "interrupted", done, total });
      // If the server is gone, it goes on when that is back.
      this.timer = setTimeout(() => void this.check(), 1000 * SHORTEST_WAIT);
    } else this.set({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  }

  private async drop(): Promise<void> {
    this.closePack();
    this.pack = undefined;
    await this.store.delete(this.gallery);
    this.show();
  }

  private closePack(): void {
    // A copy that does not open has told of that already.
    void this.opened?.then(
      (pack) => pack?.close(),
      () => {},
    );
    this.opened = undefined;
  }

  /** Show what is here or offered, while nothing is under way. */
  private show(): void {
    if (this.fetching) return;
    if (this.pack) this.set({ kind: "kept", pack: this.pack, isUpdating: false });
    else if (this.description && this.description.items > 0) {
      this.set({ kind: "offered", size: this.description.size, items: this.description.items });
    } else this.set({ kind: "none", isWithdrawn: this.isWithdrawn });
  }

  private showFetching(done: number, total: number): void {
    if (this.isClosed) return;
    if (this.pack) this.set({ kind: "kept", pack: this.pack, isUpdating: true });
    else this.set({ kind: "fetching", done, total });
  }

  private set(state: OfflineState): void {
    this.current = state;
    if (!this.isClosed) this.onChange(state);
  }
}
