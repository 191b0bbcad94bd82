"""`askew admit`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_server.cli.options import AsJson, Data, GalleryOption, Key, Server
from askew_server.cli.target import OwnedData, open_target

if TYPE_CHECKING:
    from askew_client.contract.encoders import EncoderDescription


def admit(
    encoder: Annotated[Path, typer.Argument(help="The student's encoder file.")],
    data: Data = None,
    server: Server = None,
    key: Key = None,
    gallery: GalleryOption = "default",
    as_json: AsJson = False,
) -> None:
    """Admit a student to a gallery, if it lands in the gallery's space; exit code 1 if it does not."""
    with _open(data, server, key) as gate:
        admitted = gate.admit(encoder, gallery=gallery)
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


class _Gate(Protocol):
    def admit(self, encoder: Path, *, gallery: str) -> EncoderDescription: ...


def _open(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Gate]:
    return open_target(data, server, key, command="askew admit", served=lambda client: client, local=_LocalGate)


class _LocalGate:
    """The gate of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._catalog = owned.catalog

    def admit(self, encoder: Path, *, gallery: str) -> EncoderDescription:
        from askew_client.encoding.photos import MAX_PIXELS
        from askew_client.errors import NotAnEncoder
        from askew_server.encoders.gate import admit as admit_encoder

        try:
            content = encoder.read_bytes()
        except OSError as error:
            raise NotAnEncoder(f"Expected an encoder file, but {encoder} cannot be read: {error.strerror}.") from None
        return admit_encoder(self._catalog.get(gallery), content, str(encoder), max_pixels=MAX_PIXELS)
