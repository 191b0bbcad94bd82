"""`askew encoder …` and `askew probes …`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError
from askew_server.cli.confirmation import confirm_deletion
from askew_server.cli.options import AsJson, Data, GalleryOption, Key, PhotoFolder, Server, Yes
from askew_server.cli.target import OwnedData, open_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_client.contract.common import Payload
    from askew_client.contract.encoders import EncoderDescription, EncoderList, ProbeList, Runtime
    from askew_client.contract.galleries import GalleryDescription
    from askew_client.encoding.encoder import Encoder
    from askew_server.gallery.live import LiveGallery
    from askew_server.storage.items import StoredItem

EncoderId = Annotated[str, typer.Argument(metavar="ENCODER", help="The encoder's id: name@version.")]

encoder = typer.Typer(no_args_is_help=True, help="List, fetch and retire encoders, and choose them for devices.")
probes = typer.Typer(no_args_is_help=True, help="Keep the photos with which the gate examines every candidate.")


@encoder.command(name="list")
def list_encoders(data: Data = None, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the encoders that galleries keep, newest first."""
    with _open(data, server, key) as target:
        found = target.encoders()
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
    max_bytes: Annotated[int | None, typer.Option(help="The largest file, in bytes.")] = None,
    max_milliseconds: Annotated[
        float | None, typer.Option(help="The longest time for one photo, measured on the server, in milliseconds.")
    ] = None,
    data: Data = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show which encoder a device gets."""
    wanted = None if runtime is None else _runtime(runtime)
    with _open(data, server, key) as target:
        found = target.best_encoder(
            gallery=gallery, runtime=wanted, max_bytes=max_bytes, max_milliseconds=max_milliseconds
        )
    typer.echo(found.model_dump_json(indent=1) if as_json else _summary(found))


@encoder.command()
def fetch(
    encoder_id: EncoderId,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Fetch an encoder's file. It is verified before it replaces the file that was there."""
    with _open(data, server, key) as target:
        target.download_encoder(encoder_id, output)
    typer.echo(f"{encoder_id} is in {output}.")


@encoder.command()
def retire(
    encoder_id: EncoderId,
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Refuse further queries of a student. The refusal names its successors."""
    with _open(data, server, key) as target:
        target.retire_encoder(encoder_id, gallery=gallery)
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
    """Make an encoder the choice for a runtime, instead of the one before."""
    wanted = _runtime(runtime)
    with _open(data, server, key) as target:
        target.set_default_encoder(encoder_id, gallery=gallery, runtime=wanted)
    typer.echo(f"{encoder_id} is the choice for {runtime} in gallery {gallery!r}, for devices that it fits.")


@probes.command()
def add(
    photos: PhotoFolder,
    encoder: Annotated[Path, typer.Option(help="The file of the teacher that describes the gallery.")],
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Describe a folder of photos into a gallery's probe set. Known ones are left. Exit code 3: some were skipped."""
    from askew_client.encoding.encoder import Encoder
    from askew_server.ingest.index_photos import IndexReport, index_photos
    from askew_server.ingest.photo_folder import find_photos

    found = find_photos(photos, None)
    teacher = Encoder(encoder, threads=1)
    teacher.check_golden()
    report = IndexReport(found.files)
    with _open(data, server, key) as target:
        _check_teacher(teacher, target.gallery(gallery))
        try:
            index_photos(found.photos, teacher, _ProbeSet(target, gallery, teacher.space_id), report, lambda: None)
        except BaseException:
            if report.files.taken or report.files.known:
                report.files.print_reasons()
                typer.echo(f"askew: so far, probes of gallery {gallery!r}: {report.files.summary()}.", err=True)
            raise
        probe_set = target.probes(gallery=gallery)
    report.files.print_reasons()
    count = len(probe_set.probes)
    if as_json:
        import json

        summary = {**report.files.as_json(), "probes": count, "needed": probe_set.needed}
        typer.echo(json.dumps(summary, indent=1))
    else:
        typer.echo(
            f"Gallery {gallery!r}: {report.files.summary()}; {count} probes in all"
            + (f"; the gate uses them from {probe_set.needed} on." if count < probe_set.needed else ".")
        )
    if report.files.exit_code:
        raise typer.Exit(report.files.exit_code)


@probes.command(name="list")
def list_probes(
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the probe set of a gallery."""
    with _open(data, server, key) as target:
        found = target.probes(gallery=gallery)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for probe in found.probes:
        typer.echo(probe.id)
    if not found.probes:
        typer.echo(
            f"Gallery {gallery!r} has no probes; the gate examines candidates with photos of its items.", err=True
        )


@probes.command()
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The probes to remove.")],
    gallery: GalleryOption = "default",
    data: Data = None,
    server: Server = None,
    key: Key = None,
    yes: Yes = False,
) -> None:
    """Remove photos from the probe set of a gallery."""
    with _open(data, server, key) as target:
        confirm_deletion(f"{len(ids)} probes of gallery {gallery!r}", yes=yes)
        for each in ids:
            target.delete_probe(each, gallery=gallery)
    typer.echo(f"Gallery {gallery!r}: {len(ids)} probes removed.")


class _Encoders(Protocol):
    """The encoders and probe sets of a server or of a DATA directory."""

    def encoders(self) -> EncoderList: ...

    def best_encoder(
        self, *, gallery: str, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
    ) -> EncoderDescription: ...

    def download_encoder(self, encoder_id: str, path: Path) -> object: ...

    def retire_encoder(self, encoder_id: str, *, gallery: str) -> object: ...

    def set_default_encoder(self, encoder_id: str, *, gallery: str, runtime: Runtime) -> object: ...

    def gallery(self, name: str) -> GalleryDescription: ...

    def probes(self, *, gallery: str) -> ProbeList: ...

    def put_probe(
        self, probe_id: str, photo: bytes, *, gallery: str, vector: NDArray[np.float32], space: str
    ) -> object: ...

    def delete_probe(self, probe_id: str, *, gallery: str) -> object: ...


def _open(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Encoders]:
    return open_target(
        data, server, key, command="askew encoder", served=lambda client: client, local=_LocalEncoders, timeout=60
    )


class _LocalEncoders:
    """The encoders and probe sets of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._catalog = owned.catalog

    def encoders(self) -> EncoderList:
        from askew_client.contract.encoders import EncoderList
        from askew_server.encoders.selection import all_encoders

        return EncoderList(encoders=[each for each, _ in all_encoders(self._galleries())])

    def best_encoder(
        self, *, gallery: str, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
    ) -> EncoderDescription:
        from askew_server.encoders.selection import best_encoder

        facts = self._catalog.get(gallery).encoders.facts
        return best_encoder(facts, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds)

    def download_encoder(self, encoder_id: str, path: Path) -> None:
        from askew_client.contract.encoder_file import parse_encoder_file
        from askew_client.files import write_atomically
        from askew_server.encoders.selection import all_encoders, find_encoder

        _, gallery = find_encoder(all_encoders(self._galleries()), encoder_id)
        file = gallery.encoders.facts.file(encoder_id)
        content = file.read_bytes()
        parse_encoder_file(content, str(file))
        write_atomically(path, content)

    def retire_encoder(self, encoder_id: str, *, gallery: str) -> None:
        self._catalog.get(gallery).run(lambda each: each.encoders.retire(encoder_id))

    def set_default_encoder(self, encoder_id: str, *, gallery: str, runtime: Runtime) -> None:
        self._catalog.get(gallery).run(lambda each: each.encoders.set_default(encoder_id, runtime))

    def gallery(self, name: str) -> GalleryDescription:
        return self._catalog.get(name).run(lambda each: each.describe())

    def probes(self, *, gallery: str) -> ProbeList:
        return self._catalog.get(gallery).run(lambda each: each.probes.describe_all())

    def put_probe(self, probe_id: str, photo: bytes, *, gallery: str, vector: NDArray[np.float32], space: str) -> None:
        from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type

        suffix = SUFFIX_BY_MEDIA_TYPE[media_type(photo)]
        self._catalog.get(gallery).run(lambda each: each.probes.put(probe_id, vector, photo, suffix))

    def delete_probe(self, probe_id: str, *, gallery: str) -> None:
        self._catalog.get(gallery).run(lambda each: each.probes.remove(probe_id))

    def _galleries(self) -> list[LiveGallery]:
        return [self._catalog.get(name) for name in self._catalog.names()]


class _ProbeSet:
    """A gallery's probe set as the destination of described photos."""

    def __init__(self, target: _Encoders, gallery: str, space: str) -> None:
        from askew_server.ingest.refusals import Refusals

        self._target = target
        self._gallery = gallery
        self._space = space
        self._refusals = Refusals(lambda: target.gallery(gallery))

    def known(self) -> dict[str, tuple[str | None, Payload]]:
        return {probe.id: (probe.photo_sha256, {}) for probe in self._target.probes(gallery=self._gallery).probes}

    def write(self, items: list[StoredItem]) -> Iterator[tuple[str, str]]:
        return self._refusals.send(items, self._put)

    def delete(self, ids: list[str]) -> None:
        for each in ids:
            self._target.delete_probe(each, gallery=self._gallery)

    def _put(self, item: StoredItem) -> None:
        assert item.photo is not None
        self._target.put_probe(item.id, item.photo[0], gallery=self._gallery, vector=item.vector, space=self._space)


def _check_teacher(teacher: Encoder, gallery: GalleryDescription) -> None:
    manifest = teacher.manifest
    if (manifest.space_id, manifest.photo_size, manifest.scales) != (gallery.space, gallery.photo_size, gallery.scales):
        raise AskewError(
            f"Expected the teacher of gallery {gallery.name!r}: {gallery.teacher}, space {gallery.space}, {gallery.photo_size} px, "
            f"scales {gallery.scales}; got {manifest.encoder_id}, space {manifest.space_id}, {manifest.photo_size} px, "
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
