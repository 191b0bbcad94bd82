/** Calls about galleries, their indexes and aliases. */

import { galleryPath, type Progress, segment, type Server } from "./server.js";
import type { Galleries, Gallery, IndexKind, IndexState, Job } from "./types.js";

export class GalleryCalls {
  constructor(private readonly server: Server) {}

  list(signal?: AbortSignal): Promise<Galleries> {
    return this.server.get("v1/galleries", {}, signal);
  }

  get(name: string, signal?: AbortSignal): Promise<Gallery> {
    return this.server.get(galleryPath(name), {}, signal);
  }

  /** Make a gallery in the space of a teacher. `teacher`: its encoder file. */
  create(name: string, teacher: Blob, progress: Progress): Promise<Gallery> {
    return this.server.upload("PUT", galleryPath(name), teacher, progress, { type: "application/octet-stream" });
  }

  delete(name: string): Promise<unknown> {
    return this.server.call("DELETE", galleryPath(name));
  }

  index(name: string, signal?: AbortSignal): Promise<IndexState> {
    return this.server.get(`${galleryPath(name)}/index`, {}, signal);
  }

  chooseIndex(name: string, kind: IndexKind): Promise<IndexState> {
    return this.server.call("PUT", `${galleryPath(name)}/index`, { json: { kind } });
  }

  rebuildIndex(name: string): Promise<Job> {
    return this.server.call("POST", `${galleryPath(name)}/index/rebuild`);
  }
}

export class AliasCalls {
  constructor(private readonly server: Server) {}

  /** The gallery of each alias. */
  async list(signal?: AbortSignal): Promise<Readonly<Record<string, string>>> {
    return (await this.server.get<{ aliases: Record<string, string> }>("v1/aliases", {}, signal)).aliases;
  }

  set(alias: string, gallery: string): Promise<{ readonly previous?: string | null }> {
    return this.server.call("PUT", `v1/aliases/${segment(alias)}`, { json: { gallery } });
  }

  delete(alias: string): Promise<unknown> {
    return this.server.call("DELETE", `v1/aliases/${segment(alias)}`);
  }
}
