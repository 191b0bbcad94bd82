/** The items of a gallery, page by page. */

import type { AskewClient } from "@askew/client";

import type { Entry } from "./cards.js";

const ITEMS_A_PAGE = 48;

export class GalleryItems {
  private readonly all: Entry[] = [];
  private cursor: string | undefined;
  private isComplete = false;

  constructor(
    private readonly client: AskewClient,
    private readonly gallery: string,
  ) {}

  /** Read the next page. Throws ProblemError. */
  async readNext(): Promise<readonly Entry[]> {
    const options = { limit: ITEMS_A_PAGE, ...(this.cursor !== undefined && { cursor: this.cursor }) };
    const page = await this.client.items(this.gallery, options);
    const added = page.items.map(({ has_photo: hasPhoto, id, payload }) => ({ id, payload, hasPhoto }));
    this.all.push(...added);
    this.cursor = page.next_cursor ?? undefined;
    this.isComplete = this.cursor === undefined;
    return added;
  }

  /** The items of all pages read so far. */
  get entries(): readonly Entry[] {
    return this.all;
  }

  get hasMore(): boolean {
    return !this.isComplete;
  }
}
