"""`askew items …`: export as Parquet, from a running server or a DATA directory; see filling/item_import.py and chosen_items.py, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.warning_lines import warn_of_unknown_fields
from askew_client.errors import AskewError
from askew_server.cli.chosen_items import count_items, delete_items
from askew_server.cli.filling.item_import import import_items
from askew_server.cli.options import (
    AsJson,
    Data,
    FilterOption,
    GalleryOption,
    Server,
    WriteKey,
    parse_filter,
)
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import print_summary, show_progress

if TYPE_CHECKING:
    from pydantic import JsonValue

    from askew_client import Client
    from askew_client.contract.filters.conditions import Filter
    from askew_client.contract.items import Item
    from askew_client.contract.manifest import Manifest
    from askew_server.ingest.parquet_writing import ParquetRow

items = typer.Typer(
    no_args_is_help=True, help="Count and delete the items of a gallery, export them as Parquet, and import them."
)
items.command(name="count")(count_items)
items.command(name="delete")(delete_items)
items.command(name="import")(import_items)


@items.command(name="export")
@stopped_by_sigterm()
def export_items(
    output: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The file to write.")],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    condition: FilterOption = None,
    without_vectors: Annotated[bool, typer.Option("--without-vectors", help="Ids, payloads and digests only.")] = False,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Write ids, vectors, payloads and the photos' digests to a Parquet file. Snapshots hold the photos themselves."""
    from askew_server.ingest.parquet_writing import write_parquet

    if not output.parent.is_dir():
        raise AskewError(f"Expected to write {output}, but there is no folder {output.parent}. Create it first.")
    wanted = None if condition is None else parse_filter(condition)
    with _open_source(data, server, key) as source:
        found = source.read(gallery, wanted, with_vectors=not without_vectors)
        with show_progress("Writing", "items", found.total) as advance:
            count = write_parquet(output, found.teacher, found.rows, with_vectors=not without_vectors, written=advance)
    print_summary(as_json, {"written": count}, f"{output} holds {count} items of gallery {gallery!r}.")


@dataclass(frozen=True)
class _FoundItems:
    """Items to export. `total`: how many, None if that is not known. `rows` can be read once."""

    teacher: Manifest
    total: int | None
    rows: Iterator[ParquetRow]


class _Source(Protocol):
    """The items of a server or of a DATA directory."""

    def read(self, gallery: str, condition: Filter | None, *, with_vectors: bool) -> _FoundItems: ...


def _open_source(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Source]:
    return open_target(
        data,
        server,
        key,
        command="askew items",
        served=_ServedSource,
        local=_LocalSource,
        opens_galleries=False,
    )


class _LocalSource:
    """The items of a DATA directory, read from its databases."""

    def __init__(self, owned: OwnedData) -> None:
        self._owned = owned

    def read(self, gallery: str, condition: Filter | None, *, with_vectors: bool) -> _FoundItems:
        from askew_server.ingest.parquet_writing import ParquetRow
        from askew_server.storage.facts import GalleryFacts, require_items_here
        from askew_server.storage.filtering.filters import PayloadFilter
        from askew_server.storage.photos import photo_sha256
        from askew_server.storage.raw_items import raw_items
        from askew_server.storage.reader import GalleryReader
        from askew_server.storage.sqlite import Database

        folder = self._owned.gallery_folder(gallery)
        require_items_here(folder, gallery, "An export without a server", "Start the server and use --server URL.")
        database = self._owned.closing.enter_context(Database.open_read_only(folder / "gallery.db"))
        reader = GalleryReader(database, folder)
        selection = None if condition is None else PayloadFilter(reader).select(condition)
        labels = None if selection is None else selection.labels.tolist()
        rows = (
            ParquetRow(
                id=str(item.id),
                vector=item.vector if with_vectors and isinstance(item.vector, bytes) else None,
                payload=str(item.payload),
                photo_sha256=None if item.photo is None else photo_sha256(str(item.photo)),
            )
            for item in raw_items(database, labels)
        )
        if selection is not None:
            warn_of_unknown_fields(selection.unknown_fields)
        total = reader.counts()[0] if labels is None else len(labels)
        return _FoundItems(GalleryFacts.read(database).teacher, total, rows)


class _ServedSource:
    """The items of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, gallery: str, condition: Filter | None, *, with_vectors: bool) -> _FoundItems:
        described = self._client.gallery(gallery)
        teacher = self._client.encoder_manifest(described.teacher)
        if teacher.space_id != described.space:
            raise AskewError(
                f"Gallery {gallery!r} is in {described.space}, but the server's {described.teacher} makes vectors in "
                f"{teacher.space_id}. Export on the server's machine, with --data."
            )
        wanted = None if condition is None else condition.model_dump(by_alias=True)
        rows = self._rows(gallery, wanted, with_vectors)
        return _FoundItems(teacher, described.items if condition is None else None, rows)

    def _rows(self, gallery: str, wanted: dict[str, JsonValue] | None, with_vectors: bool) -> Iterator[ParquetRow]:
        cursor, is_first = None, True
        while is_first or cursor is not None:
            page = self._client.item_page(gallery=gallery, filter=wanted, with_vectors=with_vectors, cursor=cursor)
            if is_first:
                warn_of_unknown_fields(page.unknown_fields)
            yield from map(_row_of, page.items)
            cursor, is_first = page.next_cursor, False


def _row_of(item: Item) -> ParquetRow:
    import base64

    from pydantic_core import to_json

    from askew_server.ingest.parquet_writing import ParquetRow

    vector = None if item.vector is None else base64.b64decode(item.vector)
    return ParquetRow(item.id, vector, to_json(item.payload).decode(), item.photo_sha256)
