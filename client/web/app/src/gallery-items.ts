/** The items of a gallery, page by page: from the server, or from the copy on this device. */

import type { AskewClient, OfflinePack } from "@askew/client";

import type { Entry } from "./cards.js";
import { packEntry } from "./views.js";

const ITEMS_A_PAGE = 48;

interface Page {
  readonly entries: readonly Entry[];
  /** Where the next page begins; undefined if this is the last one. */
  readonly next: string | undefined;
}

/** Reads the page that begins at a place; undefined: the first one. */
type ReadPage = (cursor: string | undefined) => Promise<Page>;

/** Pages of the server. They throw ProblemError. */
export function pagesOfServer(client: AskewClient, gallery: string): ReadPage {
  return async (cursor) => {
    const page = await client.items(gallery, { limit: ITEMS_A_PAGE, ...(cursor !== undefined && { cursor }) });
    const entries = page.items.map(({ has_photo: hasPhoto, id, payload }) => ({ id, payload, hasPhoto }));
    return { entries, next: page.next_cursor ?? undefined };
  };
}

/** Pages of the copy on this device. They throw DeviceError. */
export function pagesOfPack(pack: OfflinePack): ReadPage {
  return async (cursor = "0") => {
    const from = Number(cursor);
    const items = await pack.items(from, ITEMS_A_PAGE);
    const end = from + items.length;
    return { entries: items.map((item) => packEntry(pack, item)), next: end < pack.header.items ? String(end) : undefined };
  };
}

export class GalleryItems {
  private readonly all: Entry[] = [];
  private cursor: string | undefined;
  private isComplete = false;

  constructor(private readonly readPage: ReadPage) {}

  /** Read the next page. Throws what the source of pages throws. */
  async readNext(): Promise<readonly Entry[]> {
    const { entries, next } = await this.readPage(this.cursor);
    this.all.push(...entries);
    this.cursor = next;
    this.isComplete = next === undefined;
    return entries;
  }

  /** The items of all pages read so far. */
  get entries(): readonly Entry[] {
    return this.all;
  }

  get hasMore(): boolean {
    return !this.isComplete;
  }
}
