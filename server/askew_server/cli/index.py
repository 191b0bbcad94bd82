"""`askew index`. Heavy modules are imported when the command runs."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import EXIT_INCOMPLETE, Intake
from askew_server.cli.filling.index_shard import PicturesInShard, describe_shard, refuse_with_shard
from askew_server.cli.options import AsJson, Data, GalleryOption, Key, PhotoFolder, Server
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import show_progress

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import Destination, IndexReport
    from askew_server.ingest.photo_folder import FoundPhotos

_TIMEOUT = 60
"""Seconds for one request: a large photo over a slow line takes longer than a search."""
_NAMED = 5


@stopped_by_sigterm()
def index(
    photos: PhotoFolder,
    encoder: Annotated[Path, typer.Option(help="The teacher's encoder file.")],
    data: Data = None,
    server: Server = None,
    key: Key = None,
    gallery: GalleryOption = "default",
    payloads: Annotated[
        Path | None,
        typer.Option(
            help="A CSV with the column `file`, optionally `id`, and further columns, which become the photos' payloads; or "
            "JSONL with such objects."
        ),
    ] = None,
    payload_types: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPES",
            help="What the columns of the CSV become, such as year:int,price:float,seen:bool,tags:list; or auto. Text, if "
            "absent.",
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the items whose photo is not in the folder any more.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --prune: do not ask.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Describe only the I-th of N disjoint parts of the folder, such as 3/8, into the file --out, without a gallery.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="With --shard: the file, for `askew items import`.")
    ] = None,
    pictures: Annotated[
        PicturesInShard | None,
        typer.Option(
            help="With --shard: what becomes the photos of the items: copies of the teacher's photo size (the default), the "
            "originals, or none."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a folder of photos into a gallery. Continues where it was interrupted. Exit code 3: some were skipped."""
    if shard is not None or out is not None or pictures is not None:
        refuse_with_shard(data=data, server=server, gallery=gallery != "default", prune=prune, yes=yes)
        describe_shard(photos, encoder, shard, out, pictures, payloads, payload_types or [], as_json=as_json)
        return
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import IndexReport, index_photos
    from askew_server.ingest.photo_folder import find_photos
    from askew_server.ingest.pruning import count_strays

    found = find_photos(photos, payloads, payload_types or [])
    # One thread for each inference and one photo for each core: faster than all cores on one photo, and other photos are
    # decoded in the meantime.
    teacher = Encoder(encoder, threads=1)
    teacher.check_golden()
    report = IndexReport(found.files)
    kept = None
    try:
        with _open(data, server, key, gallery, teacher) as destination:
            with show_progress("Describing", "photos", len(found.photos)) as advance:
                described = itertools.count(1)
                index_photos(found.photos, teacher, destination, report, lambda: advance(next(described)))
            if prune and report.gone:
                kept = _prune(destination, found, report, gallery, is_told=yes)
    except BaseException:
        if report.files.taken or report.files.known:
            _print_reasons(found, report)
            typer.echo(f"askew: so far, gallery {gallery!r}: {report.files.summary()}.", err=True)
        raise
    count_strays(report, pruning=prune)
    _print_reasons(found, report)
    if kept:
        typer.echo(f"askew: nothing is removed: {kept}", err=True)
    _print_summary(found, report, gallery, as_json)
    if kept or any(each.exit_code for each in _intakes(found, report)):
        raise typer.Exit(EXIT_INCOMPLETE)


def _prune(
    destination: Destination, found: FoundPhotos, report: IndexReport, gallery: str, *, is_told: bool
) -> str | None:
    """Remove the items that have no photo in the folder, if that is sure and wanted; otherwise says why not."""
    from askew_server.ingest.pruning import reason_to_keep

    reason = reason_to_keep(found, report, is_sure=not is_told)
    if reason:
        return reason
    ids = list(report.gone)
    named = ", ".join(map(repr, ids[:_NAMED])) + (", …" if len(ids) > _NAMED else "")
    number = (
        f"{len(ids):,} of {report.with_photo:,} items of gallery {gallery!r} with a photo have no file here: {named}."
    )
    typer.echo(number, err=True)
    if not is_told:
        if not sys.stdin.isatty():
            return "There is no terminal to ask on. Give --yes to remove them."
        if not typer.confirm("Remove them?", err=True):
            return "It was not confirmed."
    destination.delete(ids)
    report.removed = len(ids)
    report.gone.clear()
    return None


def _intakes(found: FoundPhotos, report: IndexReport) -> list[Intake]:
    lines = [] if found.lines is None else [found.lines.lines, found.lines.fields]
    return [report.files, *lines, report.items]


def _print_reasons(found: FoundPhotos, report: IndexReport) -> None:
    for each in _intakes(found, report):
        each.print_reasons()


def _print_summary(found: FoundPhotos, report: IndexReport, gallery: str, as_json: bool) -> None:
    lines = found.lines
    if as_json:
        import json

        items = report.items.as_json()
        summary = {
            **report.files.as_json(),
            "other_kinds": dict(found.walk.other_kinds),
            "items": {"replaced": items["replaced"], "left_out": items["left_out"], "removed": report.removed},
        }
        if lines is not None:
            summary |= {"lines": lines.lines.as_json(), "fields": lines.fields.as_json(), "payload_types": lines.types}
        typer.echo(json.dumps(summary, indent=1))
        return
    if lines is not None:
        types = ",".join(f"{column}:{kind}" for column, kind in lines.types.items())
        # The path may hold bytes that are not UTF-8, which cannot be printed.
        path = os.fsencode(lines.path).decode(errors="backslashreplace")
        typer.echo(f"{path}: {lines.lines.summary()}." + (f" Types: {types}" if lines.has_types else ""))
    changed = f", {report.items.count('replaced'):,} items replaced" if report.items.count("replaced") else ""
    removed = f", {report.removed:,} items removed" if report.removed else ""
    typer.echo(f"Gallery {gallery!r}: {report.files.summary()}{changed}{removed}.")


def _open(
    data: Path | None, server: str | None, key: str | None, gallery: str, teacher: Encoder
) -> AbstractContextManager[Destination]:
    """Open the gallery that the photos go to. It is created if it does not exist."""

    def served(client: Client) -> Destination:
        from askew_server.ingest.index_photos import ServedGallery

        client.create_gallery(gallery, teacher.path)
        return ServedGallery(client, gallery, teacher.manifest)

    def local(owned: OwnedData) -> Destination:
        from askew_server.ingest.index_photos import LocalGallery

        return LocalGallery(owned.create_gallery(gallery, teacher.path))

    return open_target(
        data, server, key, command="askew index", served=served, local=local, makes_data=True, timeout=_TIMEOUT
    )
