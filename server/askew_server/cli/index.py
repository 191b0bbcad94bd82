"""`askew serve`, `askew index`, `askew admit`. What is heavy is imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_server.cli.options import AsJson, Data, GalleryOption, Key, Server, checked_gallery_name, required_data

if TYPE_CHECKING:
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import Destination, IndexReport
    from askew_server.ingest.photo_folder import PhotoFile

EXIT_SKIPPED = 3


def index(
    photos: Annotated[Path, typer.Argument(help="A folder of JPEG, PNG and WebP photos.")],
    encoder: Annotated[Path, typer.Option(help="The teacher's encoder file.")],
    data: Data = None,
    server: Server = None,
    key: Key = None,
    gallery: GalleryOption = "default",
    payloads: Annotated[
        Path | None,
        typer.Option(help="A CSV: column `file`, perhaps `id`, and what else is known of each photo."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a folder of photos into a gallery. Goes on where it was interrupted; exit code 3: some were skipped."""
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.photo_folder import find_photos

    found = find_photos(photos, payloads)
    # One thread an inference, one photo a core: faster than all cores on one photo, and decoding comes for free.
    teacher = Encoder(encoder, threads=1)
    teacher.check_golden()
    report = (
        _index_served(found, teacher, server, key, gallery) if server else _index_local(found, teacher, data, gallery)
    )
    for sentence in report.skipped.values():
        typer.echo(f"askew: skipped: {sentence}", err=True)
    if as_json:
        import json

        summary = {"described": report.described, "known": report.known, "skipped": report.skipped}
        typer.echo(json.dumps(summary, indent=1))
    else:
        typer.echo(
            f"Gallery {gallery!r}: {report.described} photos described, {report.known} known already, "
            f"{len(report.skipped)} skipped."
        )
    if report.skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _index_local(found: list[PhotoFile], teacher: Encoder, data: Path | None, gallery: str) -> IndexReport:
    from askew_client.contract.encoder_file import parse_encoder_file
    from askew_server.gallery.catalog import Catalog
    from askew_server.ingest.index_photos import LocalGallery

    name = checked_gallery_name(gallery)
    galleries = Catalog(required_data(data), owner="askew index")
    try:
        galleries.load()
        owned, _ = galleries.get_or_create(name, teacher.manifest)
        content = teacher.path.read_bytes()
        file = parse_encoder_file(content, str(teacher.path))
        owned.run(lambda each: each.keep_encoder(file, content, None))
        return _with_progress(found, teacher, LocalGallery(owned))
    finally:
        galleries.close()


def _index_served(found: list[PhotoFile], teacher: Encoder, server: str, key: str | None, gallery: str) -> IndexReport:
    from askew_client import Client
    from askew_server.ingest.index_photos import ServedGallery

    with Client(server, key=key) as client:
        client.create_gallery(gallery, teacher.path)
        return _with_progress(found, teacher, ServedGallery(client, gallery, teacher.manifest))


def _with_progress(found: list[PhotoFile], teacher: Encoder, destination: Destination) -> IndexReport:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from askew_server.ingest.index_photos import index_photos

    columns = [
        TextColumn("Describing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("photos,"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("describe", total=len(found))
        return index_photos(found, teacher, destination, lambda: progress.advance(task))
