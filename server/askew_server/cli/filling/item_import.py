"""`askew items import`: Parquet files into a gallery, of a running server or of a DATA directory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake, Kind
from askew_client.errors import AskewError
from askew_server.cli.filling.import_destination import open_destination
from askew_server.cli.options import AsJson, Data, GalleryOption, Server, WriteKey
from askew_server.cli.terminal import Advance, print_summary, show_progress

if TYPE_CHECKING:
    from askew_server.ingest.import_files import ImportFile, SeenIds
    from askew_server.ingest.parquet import ParquetBatch, ParquetItems

_ENDINGS: dict[Kind, str] = {"replaced": "replaced by later rows of the same id", "skipped": "rows skipped"}
_IN_EARLIER_FILE = "another file has an item of the same id"


@stopped_by_sigterm()
def import_items(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE.parquet",
            help="Files with the columns `id`, `vector` and optionally `payload` and `photo` (the bytes of a photo).",
        ),
    ],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    space: Annotated[str | None, typer.Option(help="The space of the vectors, if the file does not name it.")] = None,
    expect_shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The files must be all N shards that `askew index --shard` wrote; otherwise nothing is imported.",
        ),
    ] = None,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Insert or replace items from Parquet files. The same command again continues after an interruption.

    A gallery that does not exist is created if the file names its teacher. Exit code 3: some rows were skipped.
    """
    from askew_server.ingest.import_files import check_files, missing_shards, read_files

    files = read_files(sources)
    check_files(files, expect_shards)
    stated = _space(files, space)
    intake = Intake("items")
    try:
        with (
            open_destination(data, server, key) as destination,
            show_progress("Storing", "items", sum(file.rows for file in files)) as advance,
        ):
            opened = destination.open(gallery, next((file.teacher for file in files if file.teacher), None))
            _check_space(gallery, opened.space, stated)
            _import(files, opened.dim, partial(destination.write, gallery, space=stated), intake, advance)
    except BaseException:
        if intake.taken:
            intake.print_reasons()
            typer.echo(f"askew: so far, gallery {gallery!r}: {intake.taken:,} items stored.", err=True)
        raise
    intake.print_reasons()
    missing = missing_shards(files)
    if missing:
        typer.echo(f"askew: {missing}", err=True)
    others = "".join(f", {intake.count(kind):,} {text}" for kind, text in _ENDINGS.items() if intake.count(kind))
    summary = {"stored": intake.taken, **intake.as_json()}
    print_summary(as_json, summary, f"Gallery {gallery!r}: {intake.taken:,} items stored{others}.")
    if intake.exit_code:
        raise typer.Exit(intake.exit_code)


class _Write(Protocol):
    def __call__(self, batch: ParquetBatch, /) -> dict[int, str]: ...


def _import(files: Sequence[ImportFile], dim: int, write: _Write, intake: Intake, advance: Advance) -> None:
    """Store all rows of all files, and count what becomes of each."""
    from askew_server.ingest.import_files import SeenIds
    from askew_server.ingest.parquet import ParquetItems

    seen = SeenIds()
    for each in files:
        with closing(ParquetItems(each.path, each.name)) as file:
            for batch in file.batches(dim, intake):
                # Disjoint shards have different photos, so that one of the two would be lost.
                is_shard = each.shard is not None
                fresh = _without_ids_of_earlier_files(batch, file, seen, intake) if is_shard else batch
                _store(fresh, file, write, seen, intake)
                advance(intake.taken + intake.count("replaced") + intake.count("skipped"))
        seen.end_file()


def _store(batch: ParquetBatch, file: ParquetItems, write: _Write, seen: SeenIds, intake: Intake) -> None:
    refused = write(batch) if batch.ids else {}
    repeated = set(seen.in_earlier_files(batch))
    for place, (row, identity) in enumerate(zip(batch.rows, batch.ids, strict=True)):
        if row in refused:
            sentence = f"Row {row} of {file.path}, id {identity[:80]!r}: {refused[row]}"
            intake.skip(file.row(row), "refused by the server", sentence)
        elif seen.is_repeated(identity) or place in repeated:
            intake.replace(identity, "by a later row of the same id")
        else:
            intake.taken += 1


def _without_ids_of_earlier_files(
    batch: ParquetBatch, file: ParquetItems, seen: SeenIds, intake: Intake
) -> ParquetBatch:
    """The rows whose ids no earlier file has; the others are counted as skipped."""
    twice = set(seen.in_earlier_files(batch))
    for place in sorted(twice):
        identity = batch.ids[place][:80]
        row = batch.rows[place]
        sentence = f"Row {row} of {file.path} has the id {identity!r} of an item in another file. Give the photos different ids."
        intake.skip(file.row(row), _IN_EARLIER_FILE, sentence)
    return batch.chosen([place for place in range(len(batch.ids)) if place not in twice]) if twice else batch


def _space(files: Sequence[ImportFile], space: str | None) -> str:
    """The space of all files' vectors. Raises AskewError if nothing names it, or something else is named."""
    for file in files:
        stated = file.space or space
        if stated is None:
            raise AskewError(
                f"Expected the space of the vectors in {file.path}, but the file does not name it. Name the space of the "
                "encoder that made them: --space sp1-…"
            )
        if space is not None and space != stated:
            raise AskewError(f"The vectors of {file.path} are in {stated}, not in {space}. Leave --space out.")
    return next((file.space for file in files if file.space), None) or space or ""


def _check_space(gallery: str, expected: str, received: str) -> None:
    if expected != received:
        raise AskewError(
            f"Gallery {gallery!r} is in space {expected}, the file's vectors are in {received}. Scores between them would mean "
            "nothing; import into a gallery of the file's space."
        )
