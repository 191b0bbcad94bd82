"""`askew index`. Heavy modules are imported when the command runs."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_server.cli.options import AsJson, Data, GalleryOption, Key, PhotoFolder, Server
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import EXIT_SKIPPED, print_skipped, show_progress

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import Destination


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
            help="A CSV with the column `file`, optionally `id`, and further columns, which become the photos' payloads."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a folder of photos into a gallery. Continues where it was interrupted. Exit code 3: some were skipped."""
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import index_photos
    from askew_server.ingest.photo_folder import find_photos

    found = find_photos(photos, payloads)
    # One thread for each inference and one photo for each core: faster than all cores on one photo, and other photos are
    # decoded in the meantime.
    teacher = Encoder(encoder, threads=1)
    teacher.check_golden()
    with (
        _open(data, server, key, gallery, teacher) as destination,
        show_progress("Describing", "photos", len(found)) as advance,
    ):
        described = itertools.count(1)
        report = index_photos(found, teacher, destination, lambda: advance(next(described)))
    print_skipped(report.skipped)
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

    return open_target(data, server, key, command="askew index", served=served, local=local)
