"""`askew serve`, `askew index`, `askew admit`. What is heavy is imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.contract.errors import AskewError

if TYPE_CHECKING:
    from askew_client.contract.search import EncoderDescription
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import Destination, IndexReport
    from askew_server.ingest.photo_folder import PhotoFile

EXIT_SKIPPED = 3

Data = Annotated[Path | None, typer.Option(help="The DATA directory; no server may be using it.")]
Server = Annotated[str | None, typer.Option(help="The URL of a running server, instead of --data.")]
Key = Annotated[str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: an API key.")]
GalleryOption = Annotated[str, typer.Option(help="The gallery's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def serve(
    data: Annotated[Path | None, typer.Option(help="The DATA directory. [ASKEW_DATA; askew-data]")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. [ASKEW_HOST; 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. [ASKEW_PORT; 8000]")] = None,
    gallery: Annotated[
        str | None, typer.Option(help="The gallery of POST /search. [ASKEW_DEFAULT_GALLERY; default]")
    ] = None,
    photo_search: Annotated[
        bool | None, typer.Option("--photo-search", help="Describe query photos too. [ASKEW_PHOTO_SEARCH]")
    ] = None,
    allow_missing_space: Annotated[
        bool | None,
        typer.Option("--allow-missing-space", help="Answer queries that name no space. [ASKEW_ALLOW_MISSING_SPACE]"),
    ] = None,
    listen_publicly: Annotated[
        bool | None,
        typer.Option("--listen-publicly", help="Listen beyond loopback without keys. [ASKEW_LISTEN_PUBLICLY]"),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Speak TLS with this certificate (PEM, with its chain). [ASKEW_TLS_CERTIFICATE]")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM). [ASKEW_TLS_KEY]")] = None,
) -> None:
    """Serve the galleries of a DATA directory over HTTP, with a page at /."""
    from pydantic import ValidationError

    from askew_server.http.server import run_server
    from askew_server.settings import Settings

    given = {
        "data": data,
        "host": host,
        "port": port,
        "default_gallery": gallery,
        "photo_search": photo_search,
        "allow_missing_space": allow_missing_space,
        "listen_publicly": listen_publicly,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
    }
    try:
        settings = Settings.model_validate(
            Settings().model_dump() | {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AskewError(
            f"Setting {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}."
        ) from None
    run_server(settings)


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


def admit(
    encoder: Annotated[Path, typer.Argument(help="The student's encoder file.")],
    data: Data = None,
    server: Server = None,
    key: Key = None,
    gallery: GalleryOption = "default",
    as_json: AsJson = False,
) -> None:
    """Admit a student to a gallery, if it lands in the gallery's space; exit code 1 if it does not."""
    if server:
        from askew_client._sync.client import Client

        with Client(server, key=key) as client:
            admitted = client.admit(encoder, gallery=gallery)
    else:
        admitted = _admit_local(encoder, data, gallery)
    if as_json:
        typer.echo(admitted.model_dump_json(indent=1))
        return
    report = admitted.report
    assert report is not None
    recall = "" if report.recall_at_10 is None else f"recall@10 {report.recall_at_10:.2f} of the teacher's own, "
    typer.echo(
        f"{admitted.id} is admitted to gallery {gallery!r}: mean cosine {report.mean_cosine:.3f} to the teacher "
        f"({report.mean_cosine_others:.3f} to other photos), {report.self_recall_at_1:.0%} of {report.probes} photos find "
        f"themselves first, {recall}{report.milliseconds_per_photo:.0f} ms a photo."
    )


def _index_local(found: list[PhotoFile], teacher: Encoder, data: Path | None, gallery: str) -> IndexReport:
    from askew_client.contract.encoder_file import parse_encoder_file
    from askew_server.gallery.catalog import Galleries
    from askew_server.ingest.index_photos import LocalGallery

    name = checked_gallery_name(gallery)
    galleries = Galleries(_required_data(data), owner="askew index")
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
    from askew_client._sync.client import Client
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


def _admit_local(encoder: Path, data: Path | None, gallery: str) -> EncoderDescription:
    from askew_client.contract.errors import NotAnEncoder
    from askew_client.encoding.photos import MAX_PIXELS
    from askew_server.encoders.gate import admit as admit_encoder
    from askew_server.gallery.catalog import Galleries

    try:
        content = encoder.read_bytes()
    except OSError as error:
        raise NotAnEncoder(f"Expected an encoder file, but {encoder} cannot be read: {error.strerror}.") from None
    galleries = Galleries(_required_data(data), owner="askew admit")
    try:
        galleries.load()
        return admit_encoder(galleries.get(gallery), content, str(encoder), max_pixels=MAX_PIXELS)
    finally:
        galleries.close()


def _required_data(data: Path | None) -> Path:
    if data is None:
        raise AskewError("Say where the gallery is: --data DIR (no server running on it), or --server URL.")
    return data


def checked_gallery_name(name: str) -> str:
    """A gallery's name, if it can be one. Raises AskewError."""
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.search import GalleryName

    try:
        return TypeAdapter(GalleryName).validate_python(name)
    except ValidationError:
        raise AskewError(
            f"Expected a gallery name of lower-case letters, digits, - and _, at most 63, got {name[:80]!r}."
        ) from None
