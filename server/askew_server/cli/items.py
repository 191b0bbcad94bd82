"""`askew items …`: export and import as Parquet, with a running server or in a DATA directory; see chosen_items.py, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake, Kind
from askew_client.cli.warning_lines import warn_of_unknown_fields
from askew_client.errors import AskewError
from askew_server.cli.chosen_items import count_items, delete_items
from askew_server.cli.options import (
    AsJson,
    Data,
    FilterOption,
    GalleryOption,
    Server,
    WriteKey,
    check_name,
    parse_filter,
)
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import Advance, show_progress

if TYPE_CHECKING:
    from pydantic import JsonValue

    from askew_client import Client
    from askew_client.contract.filters.conditions import Filter
    from askew_client.contract.items import Item
    from askew_client.contract.manifest import Manifest
    from askew_server.ingest.parquet import ParquetBatch, ParquetItems, ParquetRow

items = typer.Typer(
    no_args_is_help=True, help="Count and delete the items of a gallery, export them as Parquet, and import them."
)
items.command(name="count")(count_items)
items.command(name="delete")(delete_items)


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
    from askew_server.ingest.parquet import write_parquet

    if not output.parent.is_dir():
        raise AskewError(f"Expected to write {output}, but there is no folder {output.parent}. Create it first.")
    wanted = None if condition is None else parse_filter(condition)
    with _open_source(data, server, key) as source:
        found = source.read(gallery, wanted, with_vectors=not without_vectors)
        with show_progress("Writing", "items", found.total) as advance:
            count = write_parquet(output, found.teacher, found.rows, with_vectors=not without_vectors, written=advance)
    _print(as_json, {"written": count}, f"{output} holds {count} items of gallery {gallery!r}.")


@items.command(name="import")
@stopped_by_sigterm()
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

    A gallery that does not exist is created if the file names its teacher. Exit code 3: some rows were skipped.
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
    intake = Intake("items")
    try:
        with (
            _open_destination(data, server, key) as destination,
            show_progress("Storing", "items", file.rows) as advance,
        ):
            opened = destination.open(gallery, file.teacher)
            _check_space(gallery, opened.space, stated)
            _import(file, opened.dim, partial(destination.write, gallery, space=stated), intake, advance)
    except BaseException:
        if intake.taken:
            intake.print_reasons()
            typer.echo(f"askew: so far, gallery {gallery!r}: {intake.taken:,} items stored.", err=True)
        raise
    intake.print_reasons()
    others = "".join(f", {intake.count(kind):,} {text}" for kind, text in _ENDINGS.items() if intake.count(kind))
    summary = {"stored": intake.taken, **intake.as_json()}
    _print(as_json, summary, f"Gallery {gallery!r}: {intake.taken:,} items stored{others}.")
    if intake.exit_code:
        raise typer.Exit(intake.exit_code)


_ENDINGS: dict[Kind, str] = {"replaced": "replaced by later rows of the same id", "skipped": "rows skipped"}


class _Write(Protocol):
    def __call__(self, batch: ParquetBatch, /) -> dict[int, str]: ...


def _import(file: ParquetItems, dim: int, write: _Write, intake: Intake, advance: Advance) -> None:
    """Store all rows, and count what becomes of each."""
    # A hash of each id, because ids may be long and rows many.
    seen: set[int] = set()
    for batch in file.batches(dim, intake):
        refused = write(batch) if batch.ids else {}
        for row, identity in zip(batch.rows, batch.ids, strict=True):
            if row in refused:
                intake.skip(f"row {row}", "refused by the server", f"Row {row}, id {identity[:80]!r}: {refused[row]}")
            elif hash(identity) in seen:
                intake.replace(identity, "by a later row of the same id")
            else:
                seen.add(hash(identity))
                intake.taken += 1
        advance(intake.taken + intake.count("replaced") + intake.count("skipped"))


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

    def write(self, gallery: str, batch: ParquetBatch, *, space: str) -> dict[int, str]:
        """Insert or replace items of a space; they are on the disk when it returns.

        Returns a sentence for each row that is refused for what it is, by the row's number.
        """


def _open_destination(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Destination]:
    return open_target(
        data, server, key, command="askew items", served=_ServedDestination, local=_LocalDestination, makes_data=True
    )


class _LocalDestination:
    """The galleries of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._catalog = owned.catalog

    def open(self, gallery: str, teacher: Manifest | None) -> _OpenedGallery:
        if teacher is None or self._catalog.resolve(gallery) in self._catalog.names():
            return self._catalog.get(gallery)
        return self._catalog.get_or_create(check_name(gallery), teacher)[0]

    def write(self, gallery: str, batch: ParquetBatch, *, space: str) -> dict[int, str]:
        from askew_server.gallery.gallery import Gallery
        from askew_server.storage.items import ItemBatch, StoredItem

        rows = zip(batch.ids, batch.vectors, batch.payloads, strict=True)
        stored = ItemBatch.of([StoredItem(identity, vector, payload) for identity, vector, payload in rows])
        self._catalog.get(gallery).run(partial(Gallery.upsert, batch=stored))
        return {}


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

    def write(self, gallery: str, batch: ParquetBatch, *, space: str) -> dict[int, str]:
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
        return self.write(gallery, batch.part(0, middle), space=space) | self.write(
            gallery, batch.part(middle, len(batch.ids)), space=space
        )


def _check_space(gallery: str, expected: str, received: str) -> None:
    if expected != received:
        raise AskewError(
            f"Gallery {gallery!r} is in space {expected}, the file's vectors are in {received}. Scores between them would mean "
            "nothing; import into a gallery of the file's space."
        )


def _print(as_json: bool, summary: Mapping[str, object], sentence: str) -> None:
    import json

    typer.echo(json.dumps(summary) if as_json else sentence)
