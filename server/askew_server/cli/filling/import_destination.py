"""Where imported items go: the galleries of a running server, or those of a DATA directory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from askew_server.cli.options import check_name
from askew_server.cli.target import OwnedData, open_target

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.manifest import Manifest
    from askew_server.ingest.parquet import ParquetBatch
    from askew_server.ingest.refusals import Refusals
    from askew_server.storage.items import StoredItem

_TIMEOUT = 60
"""Seconds for one request: a large photo over a slow line takes longer than a search."""


class OpenedGallery(Protocol):
    """What an import needs to know of a gallery. `dim`: components of its vectors."""

    @property
    def space(self) -> str: ...

    @property
    def dim(self) -> int: ...


class Destination(Protocol):
    """Where imported items go: a server or a DATA directory."""

    def open(self, gallery: str, teacher: Manifest | None) -> OpenedGallery:
        """The gallery; it is created if it does not exist and its teacher is known."""

    def write(self, gallery: str, batch: ParquetBatch, *, space: str) -> dict[int, str]:
        """Insert or replace items of a space; they are on the disk when it returns.

        Returns a sentence for each row that is refused for what it is, by the row's number.
        """


def open_destination(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[Destination]:
    """Open what the options of a command name. Raises AskewError."""
    return open_target(
        data,
        server,
        key,
        command="askew items",
        served=_ServedDestination,
        local=_LocalDestination,
        makes_data=True,
        timeout=_TIMEOUT,
    )


class _LocalDestination:
    """The galleries of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._catalog = owned.catalog

    def open(self, gallery: str, teacher: Manifest | None) -> OpenedGallery:
        if teacher is None or self._catalog.resolve(gallery) in self._catalog.names():
            return self._catalog.get(gallery)
        return self._catalog.get_or_create(check_name(gallery), teacher)[0]

    def write(self, gallery: str, batch: ParquetBatch, *, space: str) -> dict[int, str]:
        from askew_server.gallery.gallery import Gallery
        from askew_server.storage.items import ItemBatch

        self._catalog.get(gallery).run(partial(Gallery.upsert, batch=ItemBatch.of(_items(batch))))
        return {}


class _ServedDestination:
    """The galleries of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._refusals: Refusals | None = None

    def open(self, gallery: str, teacher: Manifest | None) -> OpenedGallery:
        from askew_client.errors import NotFound
        from askew_server.ingest.refusals import Refusals

        self._refusals = Refusals(lambda: self._client.gallery(gallery))
        try:
            return self._client.gallery(gallery)
        except NotFound:
            if teacher is None:
                raise
            return self._client.create_gallery(gallery, teacher)

    def write(self, gallery: str, batch: ParquetBatch, *, space: str) -> dict[int, str]:
        without = [place for place, photo in enumerate(batch.photos) if photo is None]
        if len(without) == len(batch.ids):
            return self._write_many(gallery, batch, space)
        refused = self._write_many(gallery, batch.chosen(without), space) if without else {}
        pictured = batch.chosen([place for place, photo in enumerate(batch.photos) if photo is not None])
        return refused | self._write_with_photos(gallery, pictured, space)

    def _write_with_photos(self, gallery: str, batch: ParquetBatch, space: str) -> dict[int, str]:
        """One request for each photo, as `askew index` sends them."""

        def send(item: StoredItem) -> None:
            content, _ = item.photo or (b"", "")
            self._client.upsert_photo(
                item.id, content, gallery=gallery, payload=item.payload, vector=item.vector, space=space
            )

        assert self._refusals is not None
        answers = self._refusals.send(_items(batch), send)
        return {row: refused for row, (_, refused) in zip(batch.rows, answers, strict=True) if refused}

    def _write_many(self, gallery: str, batch: ParquetBatch, space: str) -> dict[int, str]:
        from askew_client.errors import ProblemError
        from askew_server.ingest.refusals import is_for_all

        try:
            self._client.upsert(batch.ids, batch.vectors, batch.payloads, gallery=gallery, space=space)
        except ProblemError as error:
            if is_for_all(error) or error.status >= 500:
                raise
            if len(batch.ids) == 1:
                return {batch.rows[0]: str(error)}
        else:
            return {}
        # One of them is refused, and with it all: which one, halves tell.
        middle = len(batch.ids) // 2
        return self._write_many(gallery, batch.chosen(range(middle)), space) | self._write_many(
            gallery, batch.chosen(range(middle, len(batch.ids))), space
        )


def _items(batch: ParquetBatch) -> list[StoredItem]:
    from askew_server.storage.items import StoredItem

    rows = zip(batch.ids, batch.vectors, batch.payloads, batch.photos, strict=True)
    return [StoredItem(*row) for row in rows]
