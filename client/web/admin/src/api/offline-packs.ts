/** Calls about the offline pack of a gallery (docs/offline.md). */

import { ProblemError } from "@askew/client";

import { galleryPath, type Server } from "./server.js";
import type { Job, OfflinePack, OfflinePackPolicy } from "./types.js";

/** `pack`: undefined if there is none, and then `reason` says why. `building`: the job that makes the next one. */
export interface OfflinePackState {
  readonly isAllowed: boolean;
  readonly policy?: OfflinePackPolicy;
  readonly pack?: OfflinePack;
  readonly building?: string;
  readonly reason?: string;
}

export class OfflinePackCalls {
  constructor(private readonly server: Server) {}

  /** As for every device that asks: a pack that is out of date, and old enough, is made again because of it. */
  async describe(gallery: string, signal?: AbortSignal): Promise<OfflinePackState> {
    try {
      const pack = await this.server.get<OfflinePack>(packPath(gallery), {}, signal);
      return { isAllowed: true, pack, ...known(pack) };
    } catch (error) {
      if (!(error instanceof ProblemError) || error.kind !== "no-offline-pack") throw error;
      const members = error.members as Partial<OfflinePack> & { readonly allowed?: boolean };
      return { isAllowed: members.allowed === true, reason: error.message, ...known(members) };
    }
  }

  /** Allow a pack by a policy, in place of any other, and make it. */
  allow(gallery: string, policy: OfflinePackPolicy): Promise<Job> {
    return this.server.call("PUT", packPath(gallery), { json: policy });
  }

  make(gallery: string): Promise<Job> {
    return this.server.call("POST", packPath(gallery));
  }

  withdraw(gallery: string): Promise<unknown> {
    return this.server.call("DELETE", packPath(gallery));
  }
}

/** Answers leave out what is null, or say it. */
const known = ({ policy, building }: Partial<OfflinePack>): Pick<OfflinePackState, "policy" | "building"> => ({
  ...(policy && { policy }),
  ...(building && { building }),
});

const packPath = (gallery: string): string => `${galleryPath(gallery)}/offline-pack`;
