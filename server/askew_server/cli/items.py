"""`askew items export` and `askew items import`: items as Parquet, with a running server or in a DATA directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import AsJson, Data, GalleryOption, Server, WriteKey, check_name
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import show_progress

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.filters import Filter
    from askew_client.contract.items import Item
    from askew_client.contract.manifest import Manifest
    from askew_server.ingest.parquet import ParquetBatch, ParquetRow

items = typer.Typer(no_args_is_help=True, help="Export the items of a gallery as Parquet, and import them.")


@items.command(name="export")
def export_items(
    output: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The file to write.")],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    condition: Annotated[
        str | None,
        typer.Option("--filter", help='Only items that meet a condition, such as {"field": "kind", "eq": "landmark"}.'),
    ] = None,
    without_vectors: Annotated[bool, typer.Option("--without-vectors", help="Ids, payloads and digests only.")] = False,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Write ids, vectors, payloads and the photos' digests to a Parquet file. Snapshots hold the photos themselves."""
    from askew_server.ingest.parquet import write_parquet

    if not output.parent.is_dir():
        raise AskewError(f"Expected to write {output}, but there is no folder {output.parent}. Create it first.")
    wanted = None if condition is None else _filter(condition)
    with _open_source(data, server, key) as source:
        found = source.read(gallery, wanted, with_vectors=not without_vectors)
        with show_progress("Writing", "items", found.total) as advance:
            count = write_parquet(output, found.teacher, found.rows, with_vectors=not without_vectors, written=advance)
    _print(as_json, {"written": count}, f"{output} holds {count} items of gallery {gallery!r}.")


@items.command(name="import")
def import_items(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE.parquet", help="A file with the columns `id`, `vector` and optionally `payload`."),
    ],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    space: Annotated[str | None, typer.Option(help="The space of the vectors, if the file does not name it.")] = None,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Insert or replace items from a Parquet file. The same command again continues after an interruption.

    A gallery that does not exist is created if the file names its teacher.
    """
    from askew_server.ingest.parquet import ParquetItems

    file = ParquetItems(source)
    stated = file.space or space
    if stated is None:
        raise AskewError(
            f"Expected the space of the vectors in {source}, but the file does not name it. Name the space of the encoder "
            "that made them: --space sp1-…"
        )
    if space is not None and space != stated:
        raise AskewError(f"The vectors of {source} are in {stated}, not in {space}. Leave --space out.")
    count = 0
    with (
        _open_destination(data, server, key) as destination,
        show_progress("Storing", "items", file.rows) as advance,
    ):
        opened = destination.open(gallery, file.teacher)
        _check_space(gallery, opened.space, stated)
        for batch in file.batches(opened.dim):
            destination.write(gallery, batch, stated)
            count += len(batch.ids)
            advance(count)
    _print(as_json, {"stored": count}, f"Gallery {gallery!r}: {count} items stored.")


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
        from askew_server.ingest.parquet import ParquetRow
        from askew_server.storage.facts import GalleryFacts
        from askew_server.storage.filter_sql import EVERY_ITEM
        from askew_server.storage.filters import PayloadFilter
        from askew_server.storage.photos import photo_sha256
        from askew_server.storage.raw_items import raw_items
        from askew_server.storage.reader import GalleryReader
        from askew_server.storage.sqlite import Database

        folder = self._owned.gallery_folder(gallery)
        database = self._owned.closing.enter_context(Database.open_read_only(folder / "gallery.db"))
        reader = GalleryReader(database, folder)
        wanted = EVERY_ITEM if condition is None else PayloadFilter(reader).sql(condition)
        rows = (
            ParquetRow(
                id=str(item.id),
                vector=item.vector if with_vectors and isinstance(item.vector, bytes) else None,
                payload=str(item.payload),
                photo_sha256=None if item.photo is None else photo_sha256(str(item.photo)),
            )
            for item in raw_items(database, wanted)
        )
        return _FoundItems(GalleryFacts.read(database).teacher, reader.count_where(wanted), rows)


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
        found = self._client.items(gallery=gallery, filter=wanted, with_vectors=with_vectors)
        return _FoundItems(teacher, described.items if condition is None else None, map(_row_of, found))


def _row_of(item: Item) -> ParquetRow:
    import base64

    from pydantic_core import to_json

    from askew_server.ingest.parquet import ParquetRow

    vector = None if item.vector is None else base64.b64decode(item.vector)
    return ParquetRow(item.id, vector, to_json(item.payload).decode(), item.photo_sha256)


class _OpenedGallery(Protocol):
    """What an import needs to know of a gallery. `dim`: components of its vectors."""

    @property
    def space(self) -> str: ...

    @property
    def dim(self) -> int: ...


class _Destination(Protocol):
    """Where imported items go: a server or a DATA directory."""

    def open(self, gallery: str, teacher: Manifest | None) -> _OpenedGallery:
        """The gallery; it is created if it does not exist and its teacher is known."""

    def write(self, gallery: str, batch: ParquetBatch, space: str) -> None:
        """Insert or replace items of a space; they are on the disk when it returns."""


def _open_destination(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Destination]:
    return open_target(data, server, key, command="askew items", served=_ServedDestination, local=_LocalDestination)


class _LocalDestination:
    """The galleries of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._catalog = owned.catalog

    def open(self, gallery: str, teacher: Manifest | None) -> _OpenedGallery:
        if teacher is None or self._catalog.resolve(gallery) in self._catalog.names():
            return self._catalog.get(gallery)
        return self._catalog.get_or_create(check_name(gallery), teacher)[0]

    def write(self, gallery: str, batch: ParquetBatch, space: str) -> None:
        from askew_server.gallery.gallery import Gallery
        from askew_server.storage.items import ItemBatch, StoredItem

        rows = zip(batch.ids, batch.vectors, batch.payloads, strict=True)
        stored = ItemBatch.of([StoredItem(identity, vector, payload) for identity, vector, payload in rows])
        self._catalog.get(gallery).run(partial(Gallery.upsert, batch=stored))


class _ServedDestination:
    """The galleries of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def open(self, gallery: str, teacher: Manifest | None) -> _OpenedGallery:
        from askew_client.errors import NotFound

        try:
            return self._client.gallery(gallery)
        except NotFound:
            if teacher is None:
                raise
            return self._client.create_gallery(gallery, teacher)

    def write(self, gallery: str, batch: ParquetBatch, space: str) -> None:
        self._client.upsert(batch.ids, batch.vectors, batch.payloads, gallery=gallery, space=space)


def _check_space(gallery: str, expected: str, received: str) -> None:
    if expected != received:
        raise AskewError(
            f"Gallery {gallery!r} is in space {expected}, the file's vectors are in {received}. Scores between them would mean "
            "nothing; import into a gallery of the file's space."
        )


def _filter(text: str) -> Filter:
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.filters import Filter
    from askew_client.contract.wording import describe_error

    adapter: TypeAdapter[Filter] = TypeAdapter(Filter)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        reason = describe_error(error).rstrip(".")
        raise AskewError(f"Expected --filter as a condition in JSON, got {text[:200]!r}. {reason}.") from None


def _print(as_json: bool, summary: dict[str, int], sentence: str) -> None:
    import json

    typer.echo(json.dumps(summary) if as_json else sentence)
