"""Describe a folder of photos into a gallery: into a DATA directory, or into a running server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from askew_client import Client
from askew_client.cli.taken import Intake, reason_of
from askew_client.contract.common import Payload
from askew_client.contract.items import MAX_DELETED, ItemPage
from askew_client.contract.manifest import Manifest
from askew_client.cores import usable_cores
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type
from askew_client.errors import PhotoError, UnreadablePhoto
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.items import read_page
from askew_server.gallery.live import LiveGallery
from askew_server.ingest.folder_walk import UNREADABLE
from askew_server.ingest.photo_files import read_file
from askew_server.ingest.photo_folder import PhotoFile
from askew_server.ingest.refusals import Refusals
from askew_server.storage.items import ItemBatch, StoredItem

BATCH = 16

REFUSED = "refused by the server"
CHANGED = "the photo or its payload has changed"

StoredPhoto = tuple[str | None, Payload]
"""SHA-256 of an item's photo, None if it has none, and the item's payload."""


class Destination(Protocol):
    """Where described photos are written."""

    def known(self) -> dict[str, StoredPhoto]:
        """Photo and payload of every item, by id."""

    def write(self, items: list[StoredItem]) -> Iterator[tuple[str, str]]:
        """Insert or replace items: the id of each once it is on the disk or refused, and why it is refused, else "".

        Raises what would stop all others, too.
        """

    def delete(self, ids: list[str]) -> None:
        """Delete items; unknown ids are ignored."""


@dataclass
class IndexReport:
    """What became of the photos, in `files`, and of the gallery's items. `removed`: how many were deleted.

    `gone`: the items with a photo that are none of the photos, by id; and whether the same photo is stored under the id
    of one. `gone_with_payload`: those that have a payload. `with_photo`: how many items have a photo.
    """

    files: Intake
    items: Intake = field(default_factory=lambda: Intake("items"))
    gone: dict[str, bool] = field(default_factory=dict)
    gone_with_payload: set[str] = field(default_factory=set)
    with_photo: int = 0
    removed: int = 0


class LocalGallery:
    """A gallery in a DATA directory that this process owns."""

    def __init__(self, gallery: LiveGallery) -> None:
        self._gallery = gallery

    def known(self) -> dict[str, StoredPhoto]:
        """See Destination."""
        found: dict[str, StoredPhoto] = {}
        cursor: str | None = None
        while True:
            page = self._gallery.run(partial(_page, cursor))
            found.update({item.id: (item.photo_sha256, item.payload) for item in page.items})
            cursor = page.next_cursor
            if cursor is None:
                return found

    def write(self, items: list[StoredItem]) -> Iterator[tuple[str, str]]:
        """See Destination."""
        self._gallery.run(lambda each: each.upsert(ItemBatch.of(items)))
        yield from ((item.id, "") for item in items)

    def delete(self, ids: list[str]) -> None:
        """See Destination."""
        for start in range(0, len(ids), MAX_DELETED):
            batch = ids[start : start + MAX_DELETED]
            self._gallery.run(partial(Gallery.delete_items, ids=batch))


class ServedGallery:
    """A gallery of a running server."""

    def __init__(self, client: Client, gallery: str, teacher: Manifest) -> None:
        self._client = client
        self._gallery = gallery
        self._teacher = teacher
        self._refusals = Refusals(lambda: client.gallery(gallery))

    def known(self) -> dict[str, StoredPhoto]:
        """See Destination."""
        items = self._client.items(gallery=self._gallery)
        return {item.id: (item.photo_sha256, item.payload) for item in items}

    def write(self, items: list[StoredItem]) -> Iterator[tuple[str, str]]:
        """See Destination."""
        return self._refusals.send(items, self._send)

    def delete(self, ids: list[str]) -> None:
        """See Destination."""
        self._client.delete_items(ids, gallery=self._gallery)

    def _send(self, item: StoredItem) -> None:
        photo, _ = item.photo or (b"", "")
        self._client.upsert_photo(
            item.id,
            photo,
            gallery=self._gallery,
            payload=item.payload,
            vector=item.vector,
            space=self._teacher.space_id,
        )


@dataclass(frozen=True)
class _ReadPhoto:
    """A photo to describe with its bytes. `error`: why it could not be read; then the bytes are empty."""

    photo: PhotoFile
    content: bytes
    error: str | None = None


def index_photos(
    photos: list[PhotoFile],
    encoder: Encoder,
    destination: Destination,
    report: IndexReport,
    progress: Callable[[], None],
) -> None:
    """Describe the photos that the destination does not have yet, and write them in batches. Counts them in `report`.

    Interrupted, it keeps what it has described; the same call continues from there. `encoder` should use one thread:
    several photos are described in parallel, one on each core. `progress` is called after each photo.
    """
    known = destination.known()
    strays = _Strays(photos, known, report)
    new = _without_known(photos, known, strays)
    report.files.known = len(photos) - len(new)
    for _ in range(report.files.known):
        progress()
    # The encoder reads some photos ahead. `tee` keeps those until their vectors come.
    ahead, in_step = tee(_read(new))
    vectors = encoder.encode_stream((read.content for read in ahead), workers=usable_cores())
    batch = _Batch(destination, known, strays, report)
    try:
        for read, vector in zip(in_step, vectors, strict=True):
            if read.error is not None:
                report.files.skip(read.photo.name, UNREADABLE, read.error)
            elif isinstance(vector, PhotoError):
                _skip(read.photo, vector, report)
            else:
                batch.add(read, vector)
            progress()
            if len(batch) == BATCH:
                batch.write()
    except KeyboardInterrupt:
        batch.write()
        raise
    batch.write()


class _Batch:
    """Described photos on their way to the destination."""

    def __init__(
        self, destination: Destination, known: dict[str, StoredPhoto], strays: _Strays, report: IndexReport
    ) -> None:
        self._destination = destination
        self._known = known
        self._strays = strays
        self._report = report
        self._waiting: dict[str, tuple[PhotoFile, StoredItem]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, read: _ReadPhoto, vector: NDArray[np.float32]) -> None:
        """Take a photo, or count it as skipped if it cannot be stored."""
        try:
            self._waiting[read.photo.id] = read.photo, _item(read, vector)
        except PhotoError as error:
            _skip(read.photo, error, self._report)

    def write(self) -> None:
        """Write what is there, and count each item once it is written or refused."""
        if not self._waiting:
            return
        for identity, refused in self._destination.write([item for _, item in self._waiting.values()]):
            photo, item = self._waiting.pop(identity)
            if refused:
                self._report.files.skip(photo.name, REFUSED, f"{photo.path}: {refused}")
                continue
            self._report.files.taken += 1
            self._strays.see(item)
            if identity in self._known:
                self._report.items.replace(identity, CHANGED)


class _Strays:
    """Looks for items with a photo that are none of the folder's photos, and for their bytes among those photos."""

    def __init__(self, photos: list[PhotoFile], known: dict[str, StoredPhoto], report: IndexReport) -> None:
        here = {photo.id for photo in photos}
        self._report = report
        self._ids: dict[str, list[str]] = {}
        for identity, (sha256, payload) in known.items():
            if sha256 is None:
                continue
            report.with_photo += 1
            if identity not in here:
                report.gone[identity] = False
                if payload:
                    report.gone_with_payload.add(identity)
                self._ids.setdefault(sha256, []).append(identity)

    def see(self, item: StoredItem) -> None:
        """Look at an item that is stored now. Its photo is hashed only if there are items that are none of the photos."""
        if self._ids and item.photo:
            self.see_digest(hashlib.sha256(item.photo[0]).hexdigest())

    def see_digest(self, sha256: str | None) -> None:
        """As `see`, by the SHA-256 of the photo."""
        for identity in self._ids.get(sha256 or "", []):
            self._report.gone[identity] = True


def _without_known(photos: list[PhotoFile], known: dict[str, StoredPhoto], strays: _Strays) -> list[PhotoFile]:
    """The photos that are not stored with the same bytes and payload. Only photos with a known id are read."""
    new = []
    for photo in photos:
        if photo.id in known and _is_stored(photo, known[photo.id]):
            strays.see_digest(known[photo.id][0])
        else:
            new.append(photo)
    return new


def _is_stored(photo: PhotoFile, stored: StoredPhoto) -> bool:
    sha256, payload = stored
    if payload != photo.payload:
        return False
    try:
        return hashlib.sha256(read_file(photo.path)).hexdigest() == sha256
    except OSError:
        return False


def _read(photos: Iterable[PhotoFile]) -> Iterator[_ReadPhoto]:
    for photo in photos:
        try:
            yield _ReadPhoto(photo, read_file(photo.path))
        except OSError as error:
            yield _ReadPhoto(photo, b"", f"{photo.path} cannot be read: {error.strerror}.")


def _item(read: _ReadPhoto, vector: NDArray[np.float32]) -> StoredItem:
    photo = read.photo
    return StoredItem(photo.id, vector, photo.payload, (read.content, SUFFIX_BY_MEDIA_TYPE[media_type(read.content)]))


def _skip(photo: PhotoFile, error: PhotoError, report: IndexReport) -> None:
    report.files.skip(photo.name, reason_of(error), sentence_about(photo.path, error))


def sentence_about(path: Path, error: PhotoError) -> str:
    """What a photo's error says, with its path."""
    text = str(error)
    if isinstance(error, UnreadablePhoto) or text.startswith("The photo "):
        return text.replace("The photo", str(path), 1)
    return f"{path}: {text}"


def _page(cursor: str | None, gallery: Gallery) -> ItemPage:
    return read_page(gallery.store, cursor, 1_000, with_vectors=False)
