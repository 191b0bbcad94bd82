/** The sections of a gallery's page. A new one is one more module, and one more line here. */

import type { Gallery } from "../api/index.js";
import type { Context } from "../context.js";
import { SECTIONS } from "../strings.js";
import { showEncoders } from "./encoders.js";
import { showItems } from "./items.js";
import { showOfflinePack } from "./offline-pack.js";
import { showOverview } from "./overview.js";
import { showSnapshots } from "./snapshots.js";

/** `slug`: its part of the address, after the gallery's name; empty for the first one. */
export interface GallerySection {
  readonly slug: string;
  readonly name: string;
  readonly show: (into: HTMLElement, context: Context, gallery: Gallery) => Promise<void> | void;
}

export const GALLERY_SECTIONS: readonly GallerySection[] = [
  { slug: "", name: SECTIONS.overview, show: showOverview },
  { slug: "items", name: SECTIONS.items, show: showItems },
  { slug: "encoders", name: SECTIONS.encoders, show: showEncoders },
  { slug: "snapshots", name: SECTIONS.snapshots, show: showSnapshots },
  { slug: "offline-pack", name: SECTIONS.offlinePack, show: showOfflinePack },
];
