"""`askew items export` and `askew items import`: items as Parquet, with a running server or in a DATA directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import AsJson, Data, GalleryOption, Server, checked_gallery_name

if TYPE_CHECKING:
    from askew_client.contract.filters import Filter
    from askew_client.contract.items import Item
    from askew_client.contract.manifest import Manifest
    from askew_server.ingest.parquet import ParquetItems, ParquetRow

WriteKey = Annotated[
    str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: a key with the scope write.")
]
Report = Callable[[int], None]

items = typer.Typer(no_args_is_help=True, help="Take the items of a gallery out as Parquet, and in again.")


@items.command(name="export")
def export_items(
    output: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The file to write.")],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    condition: Annotated[
        str | None,
        typer.Option("--filter", help='Only items that meet a condition: {"field": "kind", "eq": "landmark"}.'),
    ] = None,
    without_vectors: Annotated[bool, typer.Option("--without-vectors", help="Ids, payloads and digests only.")] = False,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Write ids, vectors, payloads and the photos' digests to a Parquet file. Photos themselves go into snapshots."""
    from askew_server.ingest.parquet import write_parquet

    if not output.parent.is_dir():
        raise AskewError(f"Expected to write {output}, but there is no folder {output.parent}.")
    wanted = None if condition is None else _filter(condition)
    with (
        _source(data, server, gallery, wanted, not without_vectors, key) as (teacher, total, rows),
        _progress("Writing", total) as report,
    ):
        count = write_parquet(output, teacher, rows, with_vectors=not without_vectors, written=report)
    _say(as_json, {"written": count}, f"{output} holds {count} items of gallery {gallery!r}.")


@items.command(name="import")
def import_items(
    source: Annotated[
        Path, typer.Argument(metavar="FILE.parquet", help="The columns `id` and `vector`, perhaps `payload`.")
    ],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    space: Annotated[
        str | None, typer.Option(help="The space of the vectors, where the file does not say it itself.")
    ] = None,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Insert or replace items from a Parquet file; the same command again goes on after an interruption.

    A gallery that does not exist is made, if the file names its teacher.
    """
    from askew_server.ingest.parquet import ParquetItems

    file = ParquetItems(source)
    stated = file.space or space
    if stated is None:
        raise AskewError(
            f"{source} does not say in which space its vectors lie. Name the space of the encoder that made them: --space sp1-…"
        )
    if space is not None and space != stated:
        raise AskewError(f"The vectors of {source} lie in {stated}, not in {space}. Leave --space out.")
    with _progress("Storing", file.rows) as report:
        if server is not None:
            count = _import_served(file, stated, server, gallery, key, report)
        elif data is not None:
            count = _import_local(file, stated, data, gallery, report)
        else:
            raise _nowhere()
    _say(as_json, {"stored": count}, f"Gallery {gallery!r}: {count} items stored.")


@contextmanager
def _source(
    data: Path | None, server: str | None, gallery: str, condition: Filter | None, with_vectors: bool, key: str | None
) -> Iterator[tuple[Manifest, int | None, Iterator[ParquetRow]]]:
    """The teacher's manifest, how many rows there are, and the rows, of a gallery."""
    if server is not None:
        with _served(server, gallery, condition, with_vectors, key) as found:
            yield found
    elif data is not None:
        with _stored(data, gallery, condition, with_vectors) as found:
            yield found
    else:
        raise _nowhere()


@contextmanager
def _stored(
    data: Path, gallery: str, condition: Filter | None, with_vectors: bool
) -> Iterator[tuple[Manifest, int | None, Iterator[ParquetRow]]]:
    from askew_server.gallery.catalog import Catalog, gallery_folder
    from askew_server.ingest.parquet import ParquetRow
    from askew_server.storage.facts import GalleryFacts
    from askew_server.storage.filters import filter_to_sql
    from askew_server.storage.raw_items import raw_items
    from askew_server.storage.sqlite import Database

    galleries = Catalog(data, owner="askew items")
    try:
        folder = gallery_folder(galleries, data / "galleries", gallery)
        with Database.open_read_only(folder / "gallery.db") as database:
            teacher = GalleryFacts.read(database).teacher
            sql, parameters = ("true", ()) if condition is None else filter_to_sql(condition)
            total = int(database.value(f"SELECT count(*) FROM items WHERE {sql}", parameters))
            rows = (
                ParquetRow(
                    id=str(item.id),
                    vector=item.vector if with_vectors and isinstance(item.vector, bytes) else None,
                    payload=str(item.payload),
                    photo_sha256=None if item.photo is None else Path(str(item.photo)).stem,
                )
                for item in raw_items(database, sql, *parameters)
            )
            yield teacher, total, rows
    finally:
        galleries.close()


@contextmanager
def _served(
    server: str, gallery: str, condition: Filter | None, with_vectors: bool, key: str | None
) -> Iterator[tuple[Manifest, int | None, Iterator[ParquetRow]]]:
    from askew_client import Client

    with Client(server, key=key) as client:
        described = client.gallery(gallery)
        teacher = client.encoder_manifest(described.teacher)
        if teacher.space_id != described.space:
            raise AskewError(
                f"Gallery {gallery!r} lies in {described.space}, but the server's {described.teacher} makes vectors in "
                f"{teacher.space_id}. Export where the data lie, with --data."
            )
        wanted = None if condition is None else condition.model_dump(by_alias=True)
        found = client.items(gallery=gallery, filter=wanted, with_vectors=with_vectors)
        yield teacher, described.items if condition is None else None, (_row_of(item) for item in found)


def _row_of(item: Item) -> ParquetRow:
    import base64

    from pydantic_core import to_json

    from askew_server.ingest.parquet import ParquetRow

    vector = None if item.vector is None else base64.b64decode(item.vector)
    return ParquetRow(item.id, vector, to_json(item.payload).decode(), item.photo_sha256)


def _import_local(file: ParquetItems, space: str, data: Path, gallery: str, report: Report) -> int:
    from askew_server.gallery.catalog import Catalog
    from askew_server.gallery.gallery import Gallery
    from askew_server.storage.items import ItemBatch, StoredItem

    galleries = Catalog(data, owner="askew items")
    try:
        galleries.load()
        if file.teacher is None or galleries.resolve(gallery) in galleries.names():
            owned = galleries.get(gallery)
        else:
            owned, _ = galleries.get_or_create(checked_gallery_name(gallery), file.teacher)
        _refuse_other_space(gallery, owned.space, space)
        count = 0
        for batch in file.batches(owned.dim):
            rows = zip(batch.ids, batch.vectors, batch.payloads, strict=True)
            stored = [StoredItem(identity, vector, payload) for identity, vector, payload in rows]
            owned.run(partial(Gallery.upsert, batch=ItemBatch.of(stored)))
            count += len(stored)
            report(count)
        return count
    finally:
        galleries.close()


def _import_served(file: ParquetItems, space: str, server: str, gallery: str, key: str | None, report: Report) -> int:
    from askew_client import Client
    from askew_client.errors import NotFound

    with Client(server, key=key) as client:
        try:
            described = client.gallery(gallery)
        except NotFound:
            if file.teacher is None:
                raise
            described = client.create_gallery(gallery, file.teacher)
        _refuse_other_space(gallery, described.space, space)
        count = 0
        for batch in file.batches(described.dim):
            client.upsert(batch.ids, batch.vectors, batch.payloads, gallery=gallery, space=space)
            count += len(batch.ids)
            report(count)
        return count


def _refuse_other_space(gallery: str, expected: str, received: str) -> None:
    if expected != received:
        raise AskewError(
            f"Gallery {gallery!r} lies in space {expected}, the file's vectors in {received}. Scores between them would mean "
            "nothing; import into a gallery of the file's space."
        )


def _filter(text: str) -> Filter:
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.filters import Filter

    adapter: TypeAdapter[Filter] = TypeAdapter(Filter)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AskewError(f"Expected --filter as a condition in JSON: {first['msg']}, got {text[:200]!r}.") from None


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Report]:
    """A bar on stderr that moves by items."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("items,"), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def _say(as_json: bool, summary: dict[str, int], sentence: str) -> None:
    import json

    typer.echo(json.dumps(summary) if as_json else sentence)


def _nowhere() -> AskewError:
    return AskewError("Say where the gallery is: --data DIR (no server running on it), or --server URL.")
