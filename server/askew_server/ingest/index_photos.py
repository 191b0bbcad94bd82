"""Describe a folder of photos into a gallery: here, in a DATA directory, or in a running server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from askew_client import Client
from askew_client.contract.common import Payload
from askew_client.contract.items import ItemPage
from askew_client.contract.manifest import Manifest
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type
from askew_client.errors import PhotoError, UnreadablePhoto
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.items import read_page
from askew_server.gallery.live import LiveGallery
from askew_server.ingest.photo_folder import PhotoFile
from askew_server.storage.items import ItemBatch, StoredItem

BATCH = 16


class Destination(Protocol):
    """Where described photos go."""

    def known(self) -> dict[str, tuple[str | None, Payload]]:
        """SHA-256 of the photo, and the payload, of every item by id."""

    def write(self, items: list[StoredItem]) -> None:
        """Insert or replace items; they are on the disk when it returns."""


@dataclass
class IndexReport:
    """What became of the photos: ids described now, ids known before, and a sentence for each that was skipped."""

    described: int = 0
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


class LocalGallery:
    """A gallery in a DATA directory that this process owns."""

    def __init__(self, gallery: LiveGallery) -> None:
        self._gallery = gallery

    def known(self) -> dict[str, tuple[str | None, Payload]]:
        """See Destination."""
        found: dict[str, tuple[str | None, Payload]] = {}
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

    def known(self) -> dict[str, tuple[str | None, Payload]]:
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


def index_photos(
    photos: list[PhotoFile], encoder: Encoder, destination: Destination, progress: Callable[[], None]
) -> IndexReport:
    """Describe the photos that the destination does not have yet, a batch at a time.

    Interrupted, it leaves every batch that was written; the same call goes on behind it. `encoder` should use one
    thread: as many photos are described at once as there are cores. `progress` is called after each photo.
    """
    report = IndexReport()
    known = destination.known()
    waiting: list[tuple[PhotoFile, bytes]] = []
    batch: list[StoredItem] = []
    try:
        for vector in encoder.encode_stream(
            _new_photos(photos, known, waiting, report, progress), workers=os.cpu_count() or 1
        ):
            photo, content = waiting.pop(0)
            if isinstance(vector, PhotoError):
                report.skipped[str(photo.path)] = _about(photo.path, vector)
            else:
                batch.append(_item(photo, content, vector))
            progress()
            if len(batch) == BATCH:
                _write(destination, batch, report)
    except KeyboardInterrupt:
        _write(destination, batch, report)
        raise
    _write(destination, batch, report)
    return report


def _new_photos(
    photos: list[PhotoFile],
    known: dict[str, tuple[str | None, Payload]],
    waiting: list[tuple[PhotoFile, bytes]],
    report: IndexReport,
    progress: Callable[[], None],
) -> Iterator[bytes]:
    """The bytes of each photo that is new or changed; it is noted in `waiting` until its vector comes."""
    for photo in photos:
        try:
            content = photo.path.read_bytes()
        except OSError as error:
            report.skipped[str(photo.path)] = f"{photo.path} cannot be read: {error.strerror}."
            progress()
            continue
        if known.get(photo.id) == (hashlib.sha256(content).hexdigest(), photo.payload):
            report.known += 1
            progress()
            continue
        waiting.append((photo, content))
        yield content


def _write(destination: Destination, batch: list[StoredItem], report: IndexReport) -> None:
    if batch:
        destination.write(batch)
        report.described += len(batch)
        batch.clear()


def _item(photo: PhotoFile, content: bytes, vector: NDArray[np.float32]) -> StoredItem:
    return StoredItem(photo.id, vector, photo.payload, (content, SUFFIX_BY_MEDIA_TYPE[media_type(content)]))


def _about(path: Path, error: PhotoError) -> str:
    text = str(error)
    if isinstance(error, UnreadablePhoto) or text.startswith("The photo "):
        return text.replace("The photo", str(path), 1)
    return f"{path}: {text}"


def _page(cursor: str | None, gallery: Gallery) -> ItemPage:
    return read_page(gallery.store, cursor, 1_000, None, with_vectors=False)
