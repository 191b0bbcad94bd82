/** Calls about jobs, snapshots, keys and metrics. */

import { galleryPath, segment, type Server } from "./server.js";
import type { CreatedKey, Job, KeyDescription, NewKey, Snapshot } from "./types.js";

export class JobCalls {
  constructor(private readonly server: Server) {}

  /** The newest jobs, without their results. */
  async list(signal?: AbortSignal): Promise<readonly Job[]> {
    return (await this.server.get<{ jobs: Job[] }>("v1/jobs", { limit: 200 }, signal)).jobs;
  }

  get(id: string, signal?: AbortSignal): Promise<Job> {
    return this.server.get(`v1/jobs/${segment(id)}`, {}, signal);
  }

  cancel(id: string): Promise<Job> {
    return this.server.call("POST", `v1/jobs/${segment(id)}/cancel`);
  }
}

export class SnapshotCalls {
  constructor(private readonly server: Server) {}

  async list(gallery: string, signal?: AbortSignal): Promise<readonly Snapshot[]> {
    return (await this.server.get<{ snapshots: Snapshot[] }>(`${galleryPath(gallery)}/snapshots`, {}, signal)).snapshots;
  }

  create(gallery: string): Promise<Job> {
    return this.server.call("POST", `${galleryPath(gallery)}/snapshots`);
  }

  verify(gallery: string, name: string): Promise<Job> {
    return this.server.call("POST", `${snapshotPath(gallery, name)}/verify`);
  }

  delete(gallery: string, name: string): Promise<unknown> {
    return this.server.call("DELETE", snapshotPath(gallery, name));
  }

  /** Make a new gallery from a snapshot that a gallery keeps. */
  restore(into: string, gallery: string, snapshot: string): Promise<Job> {
    return this.server.call("POST", `${galleryPath(into)}/restore`, { json: { gallery, snapshot } });
  }

  address(gallery: string, name: string): URL {
    return this.server.transport.address(snapshotPath(gallery, name));
  }

  file(gallery: string, name: string): Promise<Response> {
    return this.server.transport.send(snapshotPath(gallery, name));
  }
}

export class KeyCalls {
  constructor(private readonly server: Server) {}

  async list(signal?: AbortSignal): Promise<readonly KeyDescription[]> {
    return (await this.server.get<{ keys: KeyDescription[] }>("v1/keys", {}, signal)).keys;
  }

  create(wanted: NewKey): Promise<CreatedKey> {
    return this.server.call("POST", "v1/keys", { json: wanted });
  }

  revoke(id: string): Promise<unknown> {
    return this.server.call("DELETE", `v1/keys/${segment(id)}`);
  }
}

export class MetricsCalls {
  constructor(private readonly server: Server) {}

  /** The metrics of the whole server, in Prometheus's text format. */
  async read(signal?: AbortSignal): Promise<string> {
    return (await this.server.transport.send("metrics", {}, signal ? { signal } : {})).text();
  }
}

const snapshotPath = (gallery: string, name: string): string => `${galleryPath(gallery)}/snapshots/${segment(name)}`;
