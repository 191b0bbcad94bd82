"""All galleries under one DATA directory, which one process owns at a time."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import DataInUse, Refusal
from askew_server.gallery import Gallery
from askew_server.owned import OwnedGallery


class Galleries:
    """The DATA directory: `galleries/NAME/` for each gallery, and the lock that makes this process its owner."""

    def __init__(self, data: Path, *, owner: str, max_waiting: int = 256) -> None:
        """Take DATA, which is made when it is missing; galleries are opened by `load`.

        `owner` says who this is, for the sentence that another process gets. Raises DataInUse, or AskewError when
        DATA cannot be written.
        """
        self._folder = data / "galleries"
        self._max_waiting = max_waiting
        self._galleries: dict[str, OwnedGallery] = {}
        self._changing = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(data, owner)
        except OSError as error:
            raise AskewError(f"Expected to keep galleries in {data}, but it cannot be written: {error}.") from None

    def load(self) -> None:
        """Open every gallery on disk. Raises DamagedGallery, EngineMissing."""
        for folder in sorted(self._folder.iterdir()):
            if (folder / "gallery.db").exists() and not folder.name.startswith("."):
                self._open(folder.name, Gallery.open)

    def close(self) -> None:
        """Close every gallery and give DATA back."""
        for gallery in self._galleries.values():
            gallery.close()
        self._galleries = {}
        self._lock.release()

    def names(self) -> list[str]:
        """The names of all galleries, sorted."""
        return sorted(self._galleries)

    def get(self, name: str) -> OwnedGallery:
        """A gallery by name. Raises Refusal (unknown-gallery)."""
        gallery = self._galleries.get(name)
        if gallery is None:
            known = ", ".join(self.names()) or "none yet; `askew index PHOTOS` makes one"
            raise Refusal(ProblemKind.UNKNOWN_GALLERY, f"There is no gallery {name[:80]!r}. Known: {known}.")
        return gallery

    def get_or_create(self, name: str, teacher: Manifest) -> tuple[OwnedGallery, bool]:
        """The gallery of this name in the teacher's space, and whether it was made now.

        Raises Refusal (gallery-conflict) when there is one of another teacher, photo size or scales.
        """
        with self._changing:
            existing = self._galleries.get(name)
            if existing is None:
                return self._open(name, lambda folder: _begin_gallery(folder, teacher)), True
        known = existing.teacher
        if known.space_id != teacher.space_id:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {name!r} lies in space {known.space_id} of {known.encoder_id}; {teacher.encoder_id} makes "
                f"vectors in {teacher.space_id}. Choose another gallery name for it.",
                {"expected": known.space_id, "received": teacher.space_id},
            )
        if (known.photo_size, known.scales) != (
            teacher.photo_size,
            teacher.scales,
        ) or teacher.role != "teacher":
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {name!r} is described by {known.encoder_id} at {known.photo_size} px, scales {known.scales}; "
                f"{teacher.encoder_id} is a {teacher.role} at {teacher.photo_size} px, scales {teacher.scales}. "
                "Describe a gallery with one teacher at one size.",
                {"expected": known.encoder_id, "received": teacher.encoder_id},
            )
        return existing, False

    def _open(self, name: str, opening: Callable[[Path], Gallery]) -> OwnedGallery:
        owned = OwnedGallery.open(name, lambda: opening(self._folder / name), self._max_waiting)
        self._galleries = {**self._galleries, name: owned}
        return owned


def _begin_gallery(folder: Path, teacher: Manifest) -> Gallery:
    if teacher.role != "teacher":
        raise Refusal(
            ProblemKind.GALLERY_CONFLICT,
            f"Expected a teacher to describe a gallery, got {teacher.encoder_id}, which is a student. "
            "Index with the teacher; admit the student for queries.",
        )
    return Gallery.create(folder, teacher)


def _take_lock(data: Path, owner: str) -> FileLock:
    lock = FileLock(data / "lock", timeout=0)
    note = data / "owner.json"
    try:
        lock.acquire()
    except Timeout:
        raise DataInUse(
            f"{data} is in use by {_read_owner(note)}. Talk to that server with --server URL, or stop it first."
        ) from None
    note.write_text(json.dumps({"owner": owner, "process": os.getpid()}))
    return lock


def _read_owner(note: Path) -> str:
    try:
        record = json.loads(note.read_text())
        return f"{record['owner']} (process {record['process']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
