"""All galleries in one DATA directory, which one process owns at a time, and their aliases.

A gallery that cannot be opened is set aside with the reason; the others are served.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from askew_client.contract.galleries import AliasAnswer, GalleryDescription
from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import DamagedGallery, MissingSecret, Refusal, UnknownGallery
from askew_server.gallery.aliases import Aliases
from askew_server.gallery.awake import AwakeGalleries, default_limit
from askew_server.gallery.background_check import BackgroundCheck
from askew_server.gallery.damaged import DamagedGalleries
from askew_server.gallery.data_lock import take_data_lock
from askew_server.gallery.folders import GalleryFolders
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.index_manager import OpenIndex, open_index
from askew_server.gallery.known_galleries import KnownGalleries
from askew_server.gallery.live import LiveGallery
from askew_server.index.faiss_library import require_faiss
from askew_server.storage.verification import LARGEST_CHECKED_AT_OPEN


class Catalog:
    """The galleries in DATA, their aliases, and the lock that makes this process the owner of DATA.

    Each gallery is a folder DATA/galleries/NAME. Every method that takes a gallery's name takes an alias, too.
    """

    def __init__(
        self,
        data: Path,
        *,
        owner: str,
        max_waiting: int = 256,
        open_index: OpenIndex = open_index,
        largest_checked: int = LARGEST_CHECKED_AT_OPEN,
        folders: Callable[[Path], GalleryFolders] = GalleryFolders,
        max_awake: int | None = None,
    ) -> None:
        """Lock DATA, and create it if it is missing; `load` opens the galleries.

        `owner` names this process in the error that another process gets. `open_index`: opens the index of each
        gallery. `largest_checked`: bytes; a database up to this size is checked before it is opened, a larger one in
        the background. `folders`: makes, moves and removes the folders. `max_awake`: how many galleries have their files
        open at a time; by default as many as this process's limit on open files allows. Raises DataInUse, or AskewError if DATA cannot
        be written or its askew.db cannot be read.
        """
        self._folders = folders(data / "galleries")
        self._max_waiting = max_waiting
        self._open_index = open_index
        self._largest_checked = largest_checked
        self._known = KnownGalleries(data)
        self._galleries: dict[str, LiveGallery] = {}
        self._awake = AwakeGalleries(default_limit() if max_awake is None else max_awake)
        self._damaged = DamagedGalleries()
        self._changing = threading.Lock()
        self._check: BackgroundCheck | None = None
        self._log = logging.getLogger("askew.galleries")
        try:
            (data / "galleries").mkdir(parents=True, exist_ok=True)
            self._lock = take_data_lock(data, owner)
        except OSError as error:
            raise AskewError(
                f"Expected to keep galleries in {data}, but it cannot be written: {error}. Check its owner and "
                "permissions, or choose another DATA directory."
            ) from None
        try:
            self._aliases = Aliases(data)
        except BaseException:
            self._lock.release()
            raise

    # Opening and closing

    def load(self) -> None:
        """Open every gallery on disk; damaged ones are set aside. Raises EngineMissing."""
        require_faiss()
        for name in self._folders.remove_leftovers():
            self._known.forget(name)
        found = self._folders.found()
        for name, reason in self._known.missing(found).items():
            self._damaged.add(name, reason)
            self._log.critical("gallery %s is missing: %s", name, reason)
        for folder in found:
            try:
                if not (folder / "gallery.db").exists():
                    raise DamagedGallery(f"The gallery in {folder} cannot be opened: its gallery.db is missing.")
                self._open(folder.name, partial(self._open_gallery, folder))
            # Whoever starts a server without its secrets has to know at once.
            except MissingSecret:
                raise
            # A failure of any kind in one gallery must not keep the others from being served.
            except Exception as error:  # noqa: BLE001
                reason = _reason(folder, error)
                self._damaged.add(folder.name, reason)
                self._log.critical("gallery %s is set aside: %s", folder.name, reason, exc_info=_is_unforeseen(error))
        self._known.bring_up_to_date(found)
        folders = [self._folders.of(name) for name in self.names()]
        self._check = BackgroundCheck(folders, self.set_aside, self._largest_checked)
        self._check.start()

    def set_aside(self, name: str, reason: str) -> None:
        """Take a gallery out of service because its files are damaged; the others are served."""
        gallery = self._galleries.get(name)
        if gallery is not None:
            self._set_aside(gallery, reason)

    def _set_aside(self, gallery: LiveGallery, reason: str) -> None:
        name = gallery.name
        with self._changing:
            # It may have been deleted, and another one made in its place.
            if self._galleries.get(name) is not gallery:
                return
            # Before the name is forgotten: another thread that could not wake it either says the same.
            gallery.refuse(self._damaged.add(name, reason))
            self._forget(name)
        self._log.critical("gallery %s is set aside: %s", name, reason)
        self._close(gallery)

    def close(self) -> None:
        """Close every gallery and unlock DATA."""
        if self._check is not None:
            self._check.close()
        for gallery in self._galleries.values():
            self._close(gallery)
        self._galleries = {}
        self._awake.close()
        self._aliases.close()
        self._lock.release()

    # Finding

    def names(self) -> list[str]:
        """The names of all galleries that are served, sorted."""
        return sorted(self._galleries)

    def damaged(self) -> dict[str, str]:
        """The galleries that are set aside, by name, each with a sentence about the damage."""
        return self._damaged.reasons()

    def outages(self) -> dict[str, str]:
        """The galleries whose items another server keeps that does not answer, by name, each with a sentence."""
        found = {name: gallery.outage for name, gallery in self._galleries.items()}
        return {name: outage for name, outage in found.items() if outage is not None}

    def resolve(self, name: str) -> str:
        """The gallery name that a name or an alias refers to, whether or not such a gallery exists."""
        return self._aliases.resolve(name)

    def get(self, name: str) -> LiveGallery:
        """A gallery by name or alias. Raises Refusal (unknown-gallery, damaged-gallery)."""
        resolved = self.resolve(name)
        gallery = self._galleries.get(resolved)
        if gallery is None:
            self._damaged.require_intact(resolved)
            raise UnknownGallery(name, [*((each, each) for each in self._galleries), *self._aliases.all().items()])
        return gallery

    def describe(self, name: str) -> GalleryDescription:
        """A gallery as its users see it, with its aliases. Raises Refusal (unknown-gallery, damaged-gallery)."""
        gallery = self.get(name)
        return gallery.run(Gallery.describe).model_copy(update={"aliases": self._aliases.of(gallery.name)})

    def folder(self, name: str) -> Path:
        """The folder of a gallery, by name or alias; damaged ones included. Raises Refusal (unknown-gallery)."""
        resolved = self.resolve(name)
        if resolved not in self._damaged:
            resolved = self.get(resolved).name
        return self._folders.of(resolved)

    def damaged_folder(self, name: str) -> Path | None:
        """The folder of this gallery if it is set aside as damaged, else None."""
        return self._folders.of(name) if name in self._damaged else None

    # Creating and deleting

    def get_or_create(
        self, name: str, teacher: Manifest, facts: Mapping[str, str] | None = None
    ) -> tuple[LiveGallery, bool]:
        """The gallery of this name in the teacher's space, and whether this call created it.

        `facts`: further ones of a new gallery, such as where its items are. Raises Refusal: gallery-conflict if it exists
        with another teacher, photo size or scales; damaged-gallery.
        """
        with self._changing:
            resolved = self.resolve(name)
            self._damaged.require_intact(resolved)
            existing = self._galleries.get(resolved)
            if existing is None:
                created = self._open(resolved, lambda: self._create(resolved, teacher, facts))
                self._known.add(self._folders.of(resolved))
                return created, True
        existing.check_teacher(teacher)
        return existing, False

    def delete(self, name: str) -> str:
        """Delete a gallery with everything in it; returns its name. It may be a damaged one.

        Raises Refusal (unknown-gallery; gallery-in-use while an alias names it).
        """
        with self._changing:
            resolved = self.resolve(name)
            if resolved not in self._damaged:
                self.get(resolved)
            aliases = self._aliases.of(resolved)
            if aliases:
                raise Refusal(
                    ProblemKind.GALLERY_IN_USE,
                    f"Gallery {resolved!r} is named by {_listed('alias', 'aliases', aliases)}. Switch them to another "
                    "gallery (PUT /v1/aliases/NAME) or delete them first.",
                    {"aliases": aliases},
                )
            gallery = self._galleries.get(resolved)
            self._forget(resolved)
            self._damaged.discard(resolved)
            if gallery is not None:
                self._close(gallery)
            # First, so that a crash in between leaves a gallery that was not deleted, and not one that is missed.
            self._known.forget(resolved)
            aside = self._folders.put_aside(resolved) if self._folders.of(resolved).exists() else None
        if aside is not None:
            self._folders.remove(aside)
        with self._changing:
            if resolved not in self._galleries:
                # Again, as the disk was perhaps full before.
                self._known.forget(resolved)
        return resolved

    # Adopting a folder that was made elsewhere

    def check_free(self, name: str) -> None:
        """Check that `adopt` would accept this name. Raises Refusal (gallery-conflict, alias-conflict)."""
        if name in self._galleries:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"There is a gallery {name!r} already. Choose another name, then switch an alias to it.",
            )
        if name in self._aliases.all():
            raise Refusal(
                ProblemKind.ALIAS_CONFLICT,
                f"{name!r} is an alias of gallery {self.resolve(name)!r}, so no gallery can have that name. Choose "
                "another name, or delete the alias first.",
            )

    def new_folder(self, name: str) -> Path:
        """A path on the galleries' disk where a gallery can be made for `adopt`. `load` removes leftovers there."""
        return self._folders.new(name)

    def adopt(self, made: Path, name: str) -> LiveGallery:
        """Serve a complete gallery folder under a free name, or in place of a damaged gallery.

        Raises Refusal (gallery-conflict, alias-conflict) or DamagedGallery, and then changes nothing.
        """
        with self._changing:
            self.check_free(name)
            aside = self._folders.put_aside_for_another(name) if self._folders.of(name).exists() else None
            folder = self._folders.place(made, name)
            try:
                gallery = self._open(name, partial(self._open_gallery, folder))
            except BaseException:
                folder.rename(made)
                if aside is not None:
                    self._folders.place(aside, name)
                raise
            self._damaged.discard(name)
            self._known.add(folder)
        if aside is not None:
            self._folders.remove(aside)
        return gallery

    # Aliases

    def aliases(self) -> dict[str, str]:
        """The gallery that each alias names, by alias."""
        return self._aliases.all()

    def aliases_of(self, name: str) -> list[str]:
        """The aliases of a gallery, sorted."""
        return self._aliases.of(name)

    def set_alias(self, alias: str, gallery: str) -> AliasAnswer:
        """Make an alias name a gallery, atomically, and save that.

        Raises Refusal: alias-conflict if a gallery has that name, unknown-gallery, damaged-gallery.
        """
        with self._changing:
            if alias in self._galleries or alias in self._damaged:
                raise Refusal(
                    ProblemKind.ALIAS_CONFLICT,
                    f"There is a gallery {alias!r}, so no alias can have that name. Choose another one.",
                )
            named = self.get(gallery).name
            return AliasAnswer(alias=alias, gallery=named, previous=self._aliases.set(alias, named))

    def switch_alias(self, alias: str, old: LiveGallery, new: LiveGallery, may: Callable[[Gallery], bool]) -> bool:
        """Make an alias name another gallery, between two changes of the old one; whether that was done.

        It is done if the alias names the old gallery, both are served, and `may`, which is called on the writer thread of
        the old gallery, returns true: that gallery does not change then, and nobody else changes aliases. The caller holds
        the old gallery awake. Raises Refusal (unknown-gallery, overloaded).
        """
        # Taken here and not on the writer, which those who have it may wait for.
        with self._changing:
            if self._aliases.resolve(alias) != old.name or self._galleries.get(new.name) is not new:
                return False
            return old.run(lambda gallery: may(gallery) and self._aliases.set(alias, new.name) is not None)

    def delete_alias(self, alias: str) -> None:
        """Delete an alias; its gallery stays. Raises Refusal (unknown-alias)."""
        with self._changing:
            if not self._aliases.delete(alias):
                known = ", ".join(self._aliases.all()) or "none yet"
                raise Refusal(ProblemKind.UNKNOWN_ALIAS, f"There is no alias {alias[:80]!r}. Known: {known}.")

    def _create(self, name: str, teacher: Manifest, facts: Mapping[str, str] | None) -> Gallery:
        if teacher.role != "teacher":
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Expected a teacher to describe a gallery, got {teacher.encoder_id}, which is a student. "
                "Index with the teacher; admit the student for queries.",
            )
        made = self._folders.new(name)
        # Nothing half-made stays, least of all on a disk that is full.
        try:
            Gallery.create(made, teacher, self._open_index, facts=facts).close()
            folder = self._folders.place(made, name)
        except BaseException:
            self._folders.remove_if_made(made)
            raise
        try:
            return self._open_gallery(folder)
        except BaseException:
            self._folders.remove(self._folders.put_aside(name))
            raise

    def _open_gallery(self, folder: Path) -> Gallery:
        return Gallery.open(folder, self._open_index, largest_checked=self._largest_checked)

    def _open(self, name: str, opening: Callable[[], Gallery]) -> LiveGallery:
        folder = self._folders.of(name)
        # Its files were checked by then, and nobody else changes them: waking takes milliseconds.
        reopening = partial(Gallery.open, folder, self._open_index, largest_checked=0)
        gallery = LiveGallery.open(name, opening, self._max_waiting, self._awake, reopening, self._set_aside)
        self._galleries = {**self._galleries, name: gallery}
        return gallery

    def _forget(self, name: str) -> None:
        self._galleries = {each: gallery for each, gallery in self._galleries.items() if each != name}

    def _close(self, gallery: LiveGallery) -> None:
        try:
            gallery.close()
        # The disk may be full, for example. Committed items are safe, and the index is rebuilt at the next start.
        except Exception:  # noqa: BLE001
            self._log.exception("gallery %s was not closed cleanly", gallery.name)


def gallery_folder(galleries: Catalog, folder: Path, name: str) -> Path:
    """The folder of a gallery in `folder`, by name or alias, open or not. Raises AskewError if there is none."""
    found = folder / galleries.resolve(name)
    if found.parent != folder or not (found / "gallery.db").is_file():
        known = sorted(path.parent.name for path in folder.glob("[!.]*/gallery.db"))
        raise AskewError(
            f"There is no gallery {name[:80]!r} in {folder.parent}. It holds: {', '.join(known) or 'none'}."
        )
    return found


def _reason(folder: Path, error: Exception) -> str:
    if isinstance(error, AskewError):
        return str(error)
    return f"The gallery in {folder} cannot be opened: {type(error).__name__}: {error}."


def _is_unforeseen(error: Exception) -> bool:
    return not isinstance(error, AskewError)


def _listed(one: str, several: str, names: list[str]) -> str:
    return f"{one if len(names) == 1 else several} {', '.join(map(repr, names))}"
