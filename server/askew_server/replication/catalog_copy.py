"""The galleries and aliases of a replica, brought to what its primary has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.replication.applying import DamagedPrimary
from askew_server.replication.gallery_copy import CopyLacksItems, Diverged, GalleryCopy
from askew_server.replication.history import LocalGallery, UnreadableCopy
from askew_server.replication.record import gallery_key
from askew_server.replication.source import PrimaryRefused, Source
from askew_server.replication.wire import BrokenAnswer, GalleryState, PrimaryState
from askew_server.storage.errors import DatabaseError, storage_problem
from askew_server.storage.items import SqliteItemStore

_COPIED_FACTS = ("space", "dim", "teacher", "created_at", "index_kind")


class CatalogCopy:
    """The galleries of a replica. Used by one thread at a time.

    `newly_diverged`: the galleries of the last round that were found to hold what the primary never had, by name.
    """

    def __init__(self, galleries: Catalog, source: Source) -> None:
        self.newly_diverged: dict[str, str] = {}
        self._galleries = galleries
        self._source = source
        self._copies: dict[str, GalleryCopy] = {}
        self._run = ""
        self._elsewhere: list[str] = []
        self._log = logging.getLogger("askew.replication")

    def bring_to(self, state: PrimaryState, diverged: Mapping[str, str], stopped: Callable[[], bool]) -> dict[str, str]:
        """Have what the primary has: a sentence about each gallery, by name, that does not follow. Raises what Source raises.

        `diverged`: by key, the galleries that are left as they are. A new gallery is filled before an alias names it.
        """
        self.newly_diverged = {}
        troubles = {}
        if state.run != self._run:
            for copy in self._copies.values():
                copy.compare_again()
            self._run = state.run
        self._name_elsewhere(state)
        self._make_room(state, diverged)
        for name, remote in state.galleries.items():
            if stopped():
                raise AskewError("The server stops.")
            trouble = self._copy(name, remote, diverged, stopped)
            if trouble is not None:
                troubles[name] = trouble
        for name in state.unavailable:
            troubles.setdefault(name, f"Gallery {name!r} cannot be read on the primary at present.")
        self._take_over_aliases(state, troubles)
        troubles.update(self._remove_others(state, diverged))
        # The name of an alias may have been that of a gallery.
        self._take_over_aliases(state, troubles)
        return troubles

    def _name_elsewhere(self, state: PrimaryState) -> None:
        """Log which galleries are not copied because Milvus holds their items, when that changes."""
        if state.elsewhere and state.elsewhere != self._elsewhere:
            self._log.warning(
                "Not copied, because their items are in Milvus: %s. Servers without --follow may stand before the same "
                "collection (docs/milvus.md).",
                ", ".join(state.elsewhere),
            )
        self._elsewhere = state.elsewhere

    def behind(self, state: PrimaryState) -> dict[str, int]:
        """The changes of each gallery that the primary had in a state and that are not here."""
        found = {}
        for name, remote in state.galleries.items():
            copy = self._copies.get(name)
            complete = copy is not None and copy.complete_as == remote
            found[name] = 0 if complete else max(0, remote.sequence - self._sequence_here(name))
        return found

    def _sequence_here(self, name: str) -> int:
        if name not in self._galleries.names():
            return 0
        try:
            return LocalGallery.read(name, self._galleries.folder(name)).mark.sequence
        except UnreadableCopy:
            return 0

    def _copy(
        self, name: str, remote: GalleryState, diverged: Mapping[str, str], stopped: Callable[[], bool]
    ) -> str | None:
        """Bring one gallery to where the primary's is; a sentence if that cannot be done."""
        key = gallery_key(name, remote.created_at)
        copy = self._copies.get(name)
        if copy is None or copy.key != key:
            copy = self._copies[name] = GalleryCopy(name, key)
        if copy.complete_as == remote:
            return None
        if name in self._galleries.damaged():
            return f"The copy of gallery {name!r} is damaged. Discard it: it is made again (`askew replica discard {name}`)."
        try:
            if name not in self._galleries.names():
                self._create(name, key)
            local = LocalGallery.read(name, self._galleries.folder(name))
            if local.key in diverged:
                return diverged[local.key]
            copy.follow(self._galleries.get(name), local, remote, self._source, stopped)
        except Diverged as error:
            self.newly_diverged[name] = str(error)
            return str(error)
        except CopyLacksItems as error:
            self._log.warning("%s It is made again.", error)
            self._remove(name)
            return str(error)
        # Deleted on the primary since the state was read, too busy, damaged there, or cut off: the others go on.
        except (PrimaryRefused, Refusal, BrokenAnswer, DamagedPrimary, UnreadableCopy) as error:
            return f"Gallery {name!r} is not copied: {error}"
        except (DatabaseError, OSError) as error:
            known = storage_problem(error)
            return f"Gallery {name!r} is not copied: {error if known is None else known[1]}"
        copy.complete_as = remote
        return None

    def _create(self, name: str, key: str) -> None:
        """Make an empty gallery with the facts of the primary's."""
        facts = self._source.beside(name, key).facts
        made = self._galleries.new_folder(name)
        store = SqliteItemStore(made)
        try:
            store.begin({fact: facts[fact] for fact in _COPIED_FACTS if fact in facts})
        finally:
            store.close()
        self._galleries.adopt(made, name)

    def _make_room(self, state: PrimaryState, diverged: Mapping[str, str]) -> None:
        """Free the names that the primary gives to other galleries now."""
        for alias in self._galleries.aliases():
            if alias in state.galleries:
                self._galleries.delete_alias(alias)
        for name in self._galleries.names():
            remote, copy = state.galleries.get(name), self._copies.get(name)
            if remote is None or (copy is not None and copy.key == gallery_key(name, remote.created_at)):
                continue
            try:
                local = LocalGallery.read(name, self._galleries.folder(name))
            except UnreadableCopy:
                # It is said where it is to be copied.
                continue
            if local.key != gallery_key(name, remote.created_at) and local.key not in diverged:
                self._remove(name)

    def _take_over_aliases(self, state: PrimaryState, troubles: Mapping[str, str]) -> None:
        """Have the primary's aliases, as far as their names are free and their galleries are complete."""
        names = set(self._galleries.names())
        for alias, gallery in state.aliases.items():
            known = self._galleries.aliases().get(alias)
            is_free = alias not in names and alias not in self._galleries.damaged()
            if known != gallery and gallery in names and gallery not in troubles and is_free:
                self._galleries.set_alias(alias, gallery)
        for alias in self._galleries.aliases():
            if alias not in state.aliases:
                self._galleries.delete_alias(alias)

    def _remove_others(self, state: PrimaryState, diverged: Mapping[str, str]) -> dict[str, str]:
        """Remove the galleries that the primary has deleted; a sentence about each one that stays, by name."""
        kept = {}
        for name in self._galleries.names():
            if name in state.galleries or name in state.unavailable:
                continue
            if any(alias in state.aliases for alias in self._galleries.aliases_of(name)):
                # The alias goes to a gallery that is not complete yet.
                continue
            try:
                key = LocalGallery.read(name, self._galleries.folder(name)).key
            except UnreadableCopy as error:
                kept[name] = str(error)
                continue
            if key in diverged:
                kept[name] = diverged[key]
            else:
                self._log.warning("gallery %s was deleted on the primary, and so it is here", name)
                self._remove(name)
        return kept

    def _remove(self, name: str) -> None:
        for alias, gallery in self._galleries.aliases().items():
            if gallery == name:
                self._galleries.delete_alias(alias)
        self._galleries.delete(name)
        self._copies.pop(name, None)
