"""`askew gallery pack`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import AdminKey, AsJson, Data, GalleryArgument, Server, check_name
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import Advance, show_progress

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.jobs import Job
    from askew_client.contract.offline_pack import OfflinePackPolicy, OfflinePackResult, PackCodec, PackRecall


def pack(
    name: GalleryArgument,
    fields: Annotated[
        str | None, typer.Option(help="Payload fields that may leave the server, with commas; '' for ids alone.")
    ] = None,
    thumbnails: Annotated[
        int | None, typer.Option(help="The longest side of thumbnails in pixels; 0, or absent: none.")
    ] = None,
    code_bytes: Annotated[
        int | None,
        typer.Option("--bytes", help="Bytes of one vector's code, 64 to 1024; chosen by measurement if absent."),
    ] = None,
    refresh_minutes: Annotated[
        int | None,
        typer.Option(
            help="How old the pack of a changed gallery may get before a device causes a new one; 0: any age; 60 if absent."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the pack to this file.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Allow no pack any more, and remove it.")] = False,
    describe: Annotated[
        bool, typer.Option("--describe", help="Show the pack that there is, and change nothing.")
    ] = False,
    data: Data = None,
    server: Server = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Allow an offline pack of a gallery with --fields, and make it; without --fields, make an allowed one again.

    A pack lets a device search the gallery without a network. Everyone who may search the gallery may fetch it.
    """
    settings = {"thumbnails": thumbnails, "bytes": code_bytes, "refresh_minutes": refresh_minutes}
    given = {name: value for name, value in settings.items() if value is not None}
    if withdraw and (describe or fields is not None or out is not None or given):
        raise AskewError("Expected --withdraw alone, or without it the options of a pack to make or describe.")
    if describe and fields is not None:
        raise AskewError("Expected --describe, which changes nothing, or --fields, which allows a pack; got both.")
    if fields is None and given:
        option = next(iter(given)).replace("_", "-")
        raise AskewError(f"Expected --fields with --{option}: together they say what may leave the server, and when.")
    wanted = None if fields is None else _policy(fields, given)
    gallery = name if server is None else check_name(name)
    with _open(data, server, key) as packs:
        if withdraw:
            packs.withdraw(gallery)
            typer.echo(
                f"Gallery {name!r} may not be taken offline any more. Devices delete their pack when they next ask."
            )
            return
        if describe:
            shown = packs.describe(gallery)
            if out is not None:
                packs.download(gallery, out)
        else:
            with show_progress("Packing", "items") as advance:
                shown = packs.make(gallery, wanted, advance)
            if out is not None:
                packs.download(gallery, out)
    typer.echo(shown.model_dump_json(indent=1) if as_json else _summary(name, shown))


class _Shown(Protocol):
    """What a description and the result of a job have in common."""

    @property
    def items(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def sequence(self) -> int: ...
    @property
    def codec(self) -> PackCodec: ...
    @property
    def recall(self) -> PackRecall | None: ...
    def model_dump_json(self, *, indent: int | None = None) -> str: ...


class _Packs(Protocol):
    """The packs of a server or of a DATA directory."""

    def make(self, gallery: str, policy: OfflinePackPolicy | None, advance: Advance) -> _Shown: ...

    def describe(self, gallery: str) -> _Shown: ...

    def download(self, gallery: str, out: Path) -> None: ...

    def withdraw(self, gallery: str) -> None: ...


def _open(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Packs]:
    return open_target(
        data, server, key, command="askew gallery pack", served=_ServedPacks, local=_LocalPacks, opens_galleries=False
    )


class _ServedPacks:
    """The packs of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def make(self, gallery: str, policy: OfflinePackPolicy | None, advance: Advance) -> OfflinePackResult:
        from askew_client.contract.offline_pack import OfflinePackResult

        def progress(job: Job) -> None:
            advance(job.done // 2, None if job.total is None else job.total // 2)

        if policy is None:
            job = self._client.make_offline_pack(gallery=gallery)
        else:
            job = self._client.allow_offline_pack(
                policy.fields,
                gallery=gallery,
                thumbnails=policy.thumbnails,
                code_bytes=policy.bytes,
                refresh_minutes=policy.refresh_minutes,
            )
        return OfflinePackResult.model_validate(self._client.wait(job, progress=progress).result)

    def describe(self, gallery: str) -> _Shown:
        return self._client.offline_pack(gallery)

    def download(self, gallery: str, out: Path) -> None:
        self._client.download_offline_pack(out, gallery=gallery)

    def withdraw(self, gallery: str) -> None:
        self._client.withdraw_offline_pack(gallery=gallery)


class _LocalPacks:
    """The packs of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._owned = owned

    def make(self, gallery: str, policy: OfflinePackPolicy | None, advance: Advance) -> OfflinePackResult:
        from askew_server.offline.making import make_pack
        from askew_server.offline.store import OfflineStore
        from askew_server.settings import read_settings

        folder = self._owned.gallery_folder(gallery)
        if policy is not None:
            OfflineStore(folder.name, folder).allow(policy)

        def report(done: int, total: int) -> None:
            advance(done // 2, total // 2)

        pixels = read_settings({}).max_photo_pixels
        return make_pack(folder.name, folder, "command", report, lambda: False, max_pixels=pixels)

    def describe(self, gallery: str) -> _Shown:
        from askew_server.offline.describing import describe_pack

        return describe_pack(*self._found(gallery))

    def download(self, gallery: str, out: Path) -> None:
        from askew_client.files import PartialFile
        from askew_server.offline.describing import packed_file

        path = packed_file(*self._found(gallery))
        with path.open("rb") as stream, PartialFile(out) as file:
            shutil.copyfileobj(stream, file.stream)
            file.commit()

    def withdraw(self, gallery: str) -> None:
        from askew_server.offline.store import OfflineStore

        folder = self._owned.gallery_folder(gallery)
        OfflineStore(folder.name, folder).withdraw()

    def _found(self, gallery: str) -> tuple[str, Path]:
        folder = self._owned.gallery_folder(gallery)
        return folder.name, folder


def _policy(fields: str, settings: dict[str, int]) -> OfflinePackPolicy:
    """The policy of --fields and the other options that were given. Raises AskewError."""
    from pydantic import ValidationError

    from askew_client.contract.offline_pack import OfflinePackPolicy
    from askew_client.wording import expectation

    names = [field.strip() for field in fields.split(",")] if fields.strip() else []
    try:
        return OfflinePackPolicy.model_validate({"fields": names, **settings})
    except ValidationError as error:
        option = str(error.errors()[0]["loc"][0]).replace("_", "-")
        raise AskewError(f"--{option}: expected {expectation(error)}.") from None


def _summary(gallery: str, shown: _Shown) -> str:
    recall = "" if shown.recall is None else f", recall@{shown.recall.at} {shown.recall.value:.3f}"
    return (
        f"The offline pack of gallery {gallery!r}: {shown.items} items as of change {shown.sequence}, {shown.size:,} bytes, "
        f"{shown.codec.kind} codes of {shown.codec.bytes} bytes{recall}."
    )
