"""`askew encoder …` and `askew probes …`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.common import Payload
    from askew_client.contract.encoders import EncoderDescription, EncoderList, ProbeList, Runtime
    from askew_client.contract.galleries import GalleryDescription
    from askew_client.encoding.encoder import Encoder
    from askew_server.gallery.catalog import Catalog
    from askew_server.gallery.live import LiveGallery
    from askew_server.storage.items import StoredItem

EXIT_SKIPPED = 3

Data = Annotated[Path | None, typer.Option(help="The DATA directory; no server may be using it.")]
Server = Annotated[str | None, typer.Option(help="The URL of a running server, instead of --data.")]
Key = Annotated[str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: an API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
GalleryOption = Annotated[str, typer.Option(help="The gallery's name.")]
EncoderId = Annotated[str, typer.Argument(metavar="ENCODER", help="The encoder's id: name@version.")]

encoder = typer.Typer(no_args_is_help=True, help="List, fetch and retire encoders, and choose them for devices.")
probes = typer.Typer(no_args_is_help=True, help="Keep the photos that the gate shows to every candidate.")


class _Place(Protocol):
    """Where the encoders are: a server, or a DATA directory."""

    def describe_all(self) -> EncoderList: ...

    def best(
        self, gallery: str, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
    ) -> EncoderDescription: ...

    def fetch(self, encoder_id: str, path: Path) -> None: ...

    def retire(self, gallery: str, encoder_id: str) -> None: ...

    def set_default(self, gallery: str, encoder_id: str, runtime: Runtime) -> None: ...

    def described(self, gallery: str) -> GalleryDescription: ...

    def probes(self, gallery: str) -> ProbeList: ...

    def put_probe(self, gallery: str, probe: StoredItem, space: str) -> None: ...

    def remove_probe(self, gallery: str, probe_id: str) -> None: ...


@encoder.command(name="list")
def list_encoders(data: Data = None, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the encoders that galleries keep, newest first."""
    with _place(data, server, key) as place:
        found = place.describe_all()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for each in found.encoders:
        typer.echo(_summary(each))
    if not found.encoders:
        typer.echo("There are no encoders.", err=True)


@encoder.command()
def best(
    gallery: GalleryOption = "default",
    runtime: Annotated[str | None, typer.Option(help="What will run it: web, ios, android or python.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="The largest file.")] = None,
    max_milliseconds: Annotated[float | None, typer.Option(help="The slowest for one photo, on the server.")] = None,
    data: Data = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say which encoder a device gets."""
    with _place(data, server, key) as place:
        found = place.best(gallery, None if runtime is None else _runtime(runtime), max_bytes, max_milliseconds)
    typer.echo(found.model_dump_json(indent=1) if as_json else _summary(found))


@encoder.command()
def fetch(
    encoder_id: EncoderId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the file goes.")],
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Fetch an encoder's file, verified before it takes the place of what was there."""
    with _place(data, server, key) as place:
        place.fetch(encoder_id, output)
    typer.echo(f"{encoder_id} is in {output}.")


@encoder.command()
def retire(
    encoder_id: EncoderId,
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Answer no more queries of a student; devices that still have it are told its successors."""
    with _place(data, server, key) as place:
        place.retire(gallery, encoder_id)
    typer.echo(f"{encoder_id} is retired from gallery {gallery!r}.")


@encoder.command()
def default(
    encoder_id: EncoderId,
    runtime: Annotated[str, typer.Option(help="What runs it: web, ios, android or python.")],
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Make an encoder the choice for a runtime, in the place of the one before."""
    with _place(data, server, key) as place:
        place.set_default(gallery, encoder_id, _runtime(runtime))
    typer.echo(f"{encoder_id} is what {runtime} gets in gallery {gallery!r}, where it fits.")


@probes.command()
def add(
    photos: Annotated[Path, typer.Argument(help="A folder of JPEG, PNG and WebP photos.")],
    encoder: Annotated[Path, typer.Option(help="The file of the teacher that describes the gallery.")],
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Describe a folder of photos into a gallery's probe set; known ones are left. Exit code 3: some were skipped."""
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import index_photos
    from askew_server.ingest.photo_folder import find_photos

    found = find_photos(photos, None)
    teacher = Encoder(encoder, threads=1)
    teacher.check_golden()
    with _place(data, server, key) as place:
        _check_teacher(teacher, place.described(gallery))
        report = index_photos(found, teacher, _ProbeSet(place, gallery, teacher.space_id), lambda: None)
        kept = place.probes(gallery)
    for sentence in report.skipped.values():
        typer.echo(f"askew: skipped: {sentence}", err=True)
    missing = kept.needed - len(kept.probes)
    typer.echo(
        f"Gallery {gallery!r}: {report.described} probes added, {report.known} known already, {len(kept.probes)} in all"
        + (f"; the gate uses them from {kept.needed} on." if missing > 0 else ".")
    )
    if report.skipped:
        raise typer.Exit(EXIT_SKIPPED)


@probes.command(name="list")
def list_probes(
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the probe set of a gallery."""
    with _place(data, server, key) as place:
        found = place.probes(gallery)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for probe in found.probes:
        typer.echo(probe.id)
    if not found.probes:
        typer.echo(f"Gallery {gallery!r} has no probes; the gate shows candidates photos of its items.", err=True)


@probes.command()
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The probes to remove.")],
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Remove photos from the probe set of a gallery."""
    with _place(data, server, key) as place:
        for each in ids:
            place.remove_probe(gallery, each)
    typer.echo(f"Gallery {gallery!r}: {len(ids)} probes removed.")


@contextmanager
def _place(data: Path | None, server: str | None, key: str | None) -> Iterator[_Place]:
    """The encoders of a server, or of a DATA directory that is taken meanwhile. Raises AskewError, DataInUse."""
    if server is not None:
        from askew_client import Client

        with Client(server, timeout=60, key=key) as client:
            yield _Served(client)
        return
    if data is None:
        raise AskewError("Say where the gallery is: --data DIR (no server running on it), or --server URL.")
    from askew_server.gallery.catalog import Catalog

    galleries = Catalog(data, owner="askew encoder")
    try:
        galleries.load()
        yield _Local(galleries)
    finally:
        galleries.close()


class _Local:
    """The galleries of a DATA directory."""

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def describe_all(self) -> EncoderList:
        from askew_client.contract.encoders import EncoderList
        from askew_server.encoders.selection import all_encoders

        return EncoderList(encoders=[each for each, _ in all_encoders(self._all())])

    def best(
        self, gallery: str, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
    ) -> EncoderDescription:
        from askew_server.encoders.selection import best_encoder

        facts = self._galleries.get(gallery).encoders.facts
        return best_encoder(facts, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds)

    def fetch(self, encoder_id: str, path: Path) -> None:
        from askew_client.contract.encoder_file import parse_encoder_file
        from askew_client.files import write_atomically
        from askew_server.encoders.selection import all_encoders, find_encoder

        _, owned = find_encoder(all_encoders(self._all()), encoder_id)
        file = owned.encoders.facts.file(encoder_id)
        content = file.read_bytes()
        parse_encoder_file(content, str(file))
        write_atomically(path, content)

    def retire(self, gallery: str, encoder_id: str) -> None:
        self._galleries.get(gallery).run(lambda each: each.encoders.retire(encoder_id))

    def set_default(self, gallery: str, encoder_id: str, runtime: Runtime) -> None:
        self._galleries.get(gallery).run(lambda each: each.encoders.set_default(encoder_id, runtime))

    def described(self, gallery: str) -> GalleryDescription:
        return self._galleries.get(gallery).run(lambda each: each.describe())

    def probes(self, gallery: str) -> ProbeList:
        return self._galleries.get(gallery).run(lambda each: each.probes.describe_all())

    def put_probe(self, gallery: str, probe: StoredItem, space: str) -> None:
        assert probe.photo is not None
        content, suffix = probe.photo
        self._galleries.get(gallery).run(lambda each: each.probes.put(probe.id, probe.vector, content, suffix))

    def remove_probe(self, gallery: str, probe_id: str) -> None:
        self._galleries.get(gallery).run(lambda each: each.probes.remove(probe_id))

    def _all(self) -> list[LiveGallery]:
        return [self._galleries.get(name) for name in self._galleries.names()]


class _Served:
    """The galleries of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def describe_all(self) -> EncoderList:
        return self._client.encoders()

    def best(
        self, gallery: str, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
    ) -> EncoderDescription:
        return self._client.best_encoder(
            gallery=gallery, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds
        )

    def fetch(self, encoder_id: str, path: Path) -> None:
        self._client.download_encoder(encoder_id, path)

    def retire(self, gallery: str, encoder_id: str) -> None:
        self._client.retire_encoder(encoder_id, gallery=gallery)

    def set_default(self, gallery: str, encoder_id: str, runtime: Runtime) -> None:
        self._client.set_default_encoder(encoder_id, gallery=gallery, runtime=runtime)

    def described(self, gallery: str) -> GalleryDescription:
        return self._client.gallery(gallery)

    def probes(self, gallery: str) -> ProbeList:
        return self._client.probes(gallery=gallery)

    def put_probe(self, gallery: str, probe: StoredItem, space: str) -> None:
        assert probe.photo is not None
        self._client.put_probe(probe.id, probe.photo[0], gallery=gallery, vector=probe.vector, space=space)

    def remove_probe(self, gallery: str, probe_id: str) -> None:
        self._client.delete_probe(probe_id, gallery=gallery)


class _ProbeSet:
    """A probe set as the place that described photos go to."""

    def __init__(self, place: _Place, gallery: str, space: str) -> None:
        self._place = place
        self._gallery = gallery
        self._space = space

    def known(self) -> dict[str, tuple[str | None, Payload]]:
        return {probe.id: (probe.photo_sha256, {}) for probe in self._place.probes(self._gallery).probes}

    def write(self, items: list[StoredItem]) -> None:
        for item in items:
            self._place.put_probe(self._gallery, item, self._space)


def _check_teacher(teacher: Encoder, gallery: GalleryDescription) -> None:
    manifest = teacher.manifest
    if (manifest.space_id, manifest.photo_size, manifest.scales) != (gallery.space, gallery.photo_size, gallery.scales):
        raise AskewError(
            f"Gallery {gallery.name!r} is described by {gallery.teacher} in {gallery.space} at {gallery.photo_size} px, "
            f"scales {gallery.scales}; {manifest.encoder_id} describes in {manifest.space_id} at {manifest.photo_size} px, "
            f"scales {manifest.scales}. Describe the probes with the gallery's own teacher."
        )


def _summary(each: EncoderDescription) -> str:
    recall = None if each.report is None else each.report.recall_at_10
    facts = [
        each.role,
        f"{each.size:,} bytes",
        *([] if recall is None else [f"recall@10 {recall:.2f}"]),
        f"in {', '.join(each.galleries)}",
        *([f"the choice for {', '.join(each.default_for)}"] if each.default_for else []),
    ]
    return f"{each.id}  ({'; '.join(facts)})"


def _runtime(text: str) -> Runtime:
    from askew_client.contract.encoders import HIGHEST_OPSETS

    if text not in HIGHEST_OPSETS:
        raise AskewError(f"Expected a runtime ({', '.join(HIGHEST_OPSETS)}), got {text[:40]!r}.")
    return text
