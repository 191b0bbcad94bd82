"""One gallery of a replica, brought to where its primary's is.

Items travel in the order of their labels, so a copy that was interrupted goes on where it was. A label that the primary
has no more may belong to an item that was replaced, whose new version is still on its way; so removed labels are
collected, and removed with the page after which the copy has everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from askew_client.errors import AskewError
from askew_server.gallery.live import LiveGallery
from askew_server.replication.applying import apply_beside, apply_page, check_rows, fetch_beside, fetch_photos
from askew_server.replication.comparing import compare
from askew_server.replication.history import LocalGallery, differing_item, lost_items, more_changes
from askew_server.replication.source import Source
from askew_server.replication.tables import open_gallery
from askew_server.replication.wire import GalleryState
from askew_server.storage.facts import read_origin, write_origin

_COMPARISONS = 3
"""In one attempt: a primary that forgets its removals faster than a copy catches up is tried again later."""

_READINGS = 5
"""Of one page, while items in it are replaced faster than their photos are copied."""


class Diverged(AskewError):
    """The copy holds what the primary never had."""


class CopyLacksItems(AskewError):
    """The copy has lost items that it once had: it is made again."""


@dataclass
class GalleryCopy:
    """What is known of a copy. `compared`: the primary's sequence number up to which removed labels are known; None: not
    at all. `gone`: labels to be removed with the last page. `complete_at`: the sequence number at which it had everything;
    None: never, as far as is known. `complete_as`: the state of the primary that it has.
    """

    name: str
    key: str
    compared: int | None = None
    gone: set[int] = field(default_factory=set)
    complete_at: int | None = None
    complete_as: GalleryState | None = None

    def compare_again(self) -> None:
        """Compare all items at the next attempt: the primary's process is another one, and may have repaired its galleries."""
        self.compared = self.complete_as = None

    def follow(
        self, live: LiveGallery, local: LocalGallery, remote: GalleryState, source: Source, stopped: Callable[[], bool]
    ) -> None:
        """Bring the copy to where the primary is, or further. Raises Diverged, CopyLacksItems, and what Source raises."""
        if remote.beside != local.mark.beside:
            beside = source.beside(self.name, self.key)
            fetch_beside(local.folder, source, self.name, beside)
            live.run(lambda gallery: apply_beside(gallery, beside))
        # Before the items, or the command that changes the teacher would not go on here, after a promotion.
        if remote.origin != read_origin(local.folder):
            live.run(lambda gallery: write_origin(gallery.store.folder, remote.origin))
        if local.mark.sequence == 0 and self.compared is None:
            # An empty copy has nothing that could be gone.
            self.compared = remote.sequence
        sequence = local.mark.sequence
        for _ in range(_COMPARISONS):
            if self.compared is None:
                self._compare(local, source, sequence)
            reached = self._pull(live, local, sequence, source, stopped)
            if reached is None:
                return
            sequence = reached
        raise AskewError(f"Gallery {self.name!r} changes on the primary faster than it is copied. Trying again.")

    def _compare(self, local: LocalGallery, source: Source, sequence: int) -> None:
        with open_gallery(local.folder) as database, database.reading():
            found = compare(database, source, self.name, self.key, sequence)
        if found.sequence < sequence:
            raise Diverged(more_changes(self.name, local.folder, sequence, found.sequence))
        if found.differing is not None:
            raise Diverged(differing_item(self.name, found.differing))
        # Only a complete copy is at the primary's own number, and each change removes one item at most.
        complete_at = sequence if sequence == found.sequence else self.complete_at
        if complete_at is not None and len(found.gone) > found.sequence - complete_at:
            raise Diverged(lost_items(self.name, local.folder, found.gone))
        if found.missing:
            raise CopyLacksItems(f"The copy of gallery {self.name!r} lacks {found.missing:,} items that it once had.")
        self.gone |= set(found.gone.tolist())
        self.compared = found.sequence

    def _pull(
        self, live: LiveGallery, local: LocalGallery, sequence: int, source: Source, stopped: Callable[[], bool]
    ) -> int | None:
        """Copy page after page; None once the copy has everything, else where it is: what was removed is not known."""
        lacking: set[int] = set()
        readings = 0
        while not stopped():
            assert self.compared is not None
            page = source.changes(self.name, self.key, sequence, self.compared)
            if page.sequence < sequence:
                raise Diverged(more_changes(self.name, local.folder, sequence, page.sequence))
            if page.removed is None:
                # Not written: a comparison looks at what lies below `sequence`, and one of these items may go before it.
                self.compared = None
                return sequence
            check_rows(page.rows, live.dim)
            photos = fetch_photos(local.folder, source, self.name, page.rows, stopped)
            labels = {row.label for row in page.rows if row.photo in photos}
            readings += 1
            # Replaced since the page was read: read again, or a promotion now would leave them without a photo. What stays in
            # the page has lost its photo on the primary.
            if not labels <= lacking and readings < _READINGS:
                lacking = labels
                continue
            lacking, readings = set(), 0
            gone = {*self.gone, *page.removed.tolist()} if page.is_last else set()
            live.run(lambda gallery, page=page, gone=gone: apply_page(gallery, page, gone))  # type: ignore[misc]
            sequence = page.through
            if page.is_last:
                self.compared = self.complete_at = page.sequence
                self.gone = set()
                return None
        raise AskewError("The server stops.")
