/** The calls of the server's API that the operator's view makes, typed. */

import { Transport } from "@askew/client";

import { EncoderCalls } from "./encoders.js";
import { AliasCalls, GalleryCalls } from "./galleries.js";
import { ItemCalls } from "./items.js";
import { OfflinePackCalls } from "./offline-packs.js";
import { JobCalls, KeyCalls, MetricsCalls, SnapshotCalls } from "./operations.js";
import { Server } from "./server.js";

export type { OfflinePackState } from "./offline-packs.js";
export type * from "./types.js";
export { RUNTIMES } from "./types.js";

export class Api {
  readonly galleries: GalleryCalls;
  readonly aliases: AliasCalls;
  readonly items: ItemCalls;
  readonly encoders: EncoderCalls;
  readonly jobs: JobCalls;
  readonly snapshots: SnapshotCalls;
  readonly offlinePacks: OfflinePackCalls;
  readonly keys: KeyCalls;
  readonly metrics: MetricsCalls;

  /** `base`: what paths are resolved against. `key`: undefined for a server without keys. */
  constructor(base: string, key: string | undefined) {
    const server = new Server(new Transport(base, key));
    this.galleries = new GalleryCalls(server);
    this.aliases = new AliasCalls(server);
    this.items = new ItemCalls(server);
    this.encoders = new EncoderCalls(server);
    this.jobs = new JobCalls(server);
    this.snapshots = new SnapshotCalls(server);
    this.offlinePacks = new OfflinePackCalls(server);
    this.keys = new KeyCalls(server);
    this.metrics = new MetricsCalls(server);
  }
}
