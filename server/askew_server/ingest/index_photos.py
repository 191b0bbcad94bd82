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
from askew_client.contract.common import Payload
from askew_client.contract.items import ItemPage
from askew_client.contract.manifest import Manifest
from askew_client.cores import usable_cores
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type
from askew_client.errors import PhotoError, UnreadablePhoto
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.items import read_page
from askew_server.gallery.live import LiveGallery
from askew_server.ingest.photo_folder import PhotoFile
from askew_server.storage.items import ItemBatch, StoredItem

BATCH = 16

StoredPhoto = tuple[str | None, Payload]
"""SHA-256 of an item's photo, None if it has none, and the item's payload."""


class Destination(Protocol):
    """Where described photos are written."""

    def known(self) -> dict[str, StoredPhoto]:
        """Photo and payload of every item, by id."""

    def write(self, items: list[StoredItem]) -> None:
        """Insert or replace items; they are on the disk when it returns."""


@dataclass
class IndexReport:
    """How many photos were described now and known before, and a sentence for each skipped one, by path."""

    described: int = 0
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


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

    def write(self, items: list[StoredItem]) -> None:
        """See Destination."""
        self._gallery.run(lambda each: each.upsert(ItemBatch.of(items)))


class ServedGallery:
    """A gallery of a running server."""

    def __init__(self, client: Client, gallery: str, teacher: Manifest) -> None:
        self._client = client
        self._gallery = gallery
        self._teacher = teacher

    def known(self) -> dict[str, StoredPhoto]:
        """See Destination."""
        items = self._client.items(gallery=self._gallery)
        return {item.id: (item.photo_sha256, item.payload) for item in items}

    def write(self, items: list[StoredItem]) -> None:
        """See Destination."""
        for item in items:
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
    photos: list[PhotoFile], encoder: Encoder, destination: Destination, progress: Callable[[], None]
) -> IndexReport:
    """Describe the photos that the destination does not have yet, and write them in batches.

    Interrupted, it keeps what it has described; the same call continues from there. `encoder` should use one thread:
    several photos are described in parallel, one on each core. `progress` is called after each photo.
    """
    report = IndexReport()
    new = _without_known(photos, destination.known())
    report.known = len(photos) - len(new)
    for _ in range(report.known):
        progress()
    # The encoder reads some photos ahead. `tee` keeps those until their vectors come.
    ahead, in_step = tee(_read(new))
    vectors = encoder.encode_stream((read.content for read in ahead), workers=usable_cores())
    batch: list[StoredItem] = []
    try:
        for read, vector in zip(in_step, vectors, strict=True):
            path = read.photo.path
            if read.error is not None:
                report.skipped[str(path)] = read.error
            elif isinstance(vector, PhotoError):
                report.skipped[str(path)] = _sentence(path, vector)
            else:
                batch.append(_item(read, vector))
            progress()
            if len(batch) == BATCH:
                _write(destination, batch, report)
    except KeyboardInterrupt:
        _write(destination, batch, report)
        raise
    _write(destination, batch, report)
    return report


def _without_known(photos: list[PhotoFile], known: dict[str, StoredPhoto]) -> list[PhotoFile]:
    """The photos that are not stored with the same bytes and payload. Only photos with a known id are read."""
    return [photo for photo in photos if photo.id not in known or not _is_stored(photo, known[photo.id])]


def _is_stored(photo: PhotoFile, stored: StoredPhoto) -> bool:
    sha256, payload = stored
    if payload != photo.payload:
        return False
    try:
        return hashlib.sha256(photo.path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _read(photos: Iterable[PhotoFile]) -> Iterator[_ReadPhoto]:
    for photo in photos:
        try:
            yield _ReadPhoto(photo, photo.path.read_bytes())
        except OSError as error:
            yield _ReadPhoto(photo, b"", f"{photo.path} cannot be read: {error.strerror}.")


def _write(destination: Destination, batch: list[StoredItem], report: IndexReport) -> None:
    if batch:
        destination.write(batch)
        report.described += len(batch)
        batch.clear()


def _item(read: _ReadPhoto, vector: NDArray[np.float32]) -> StoredItem:
    photo = read.photo
    return StoredItem(photo.id, vector, photo.payload, (read.content, SUFFIX_BY_MEDIA_TYPE[media_type(read.content)]))


def _sentence(path: Path, error: PhotoError) -> str:
    text = str(error)
    if isinstance(error, UnreadablePhoto) or text.startswith("The photo "):
        return text.replace("The photo", str(path), 1)
    return f"{path}: {text}"


def _page(cursor: str | None, gallery: Gallery) -> ItemPage:
    return read_page(gallery.store, cursor, 1_000, with_vectors=False)
