"""`askew snapshot …`: on a running server, in a DATA directory without one, or on a file alone (verify)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import AsJson, Data, GalleryOption, Server
from askew_server.gallery.catalog import gallery_folder

if TYPE_CHECKING:
    from pydantic import JsonValue

    from askew_client import Client
    from askew_client.contract.jobs import Job
    from askew_client.contract.snapshots import Snapshot
    from askew_server.gallery.catalog import Catalog
    from askew_server.maintenance.snapshots import Snapshots

Advance = Callable[[int, int], None]

AdminKey = Annotated[
    str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: a key with the scope admin.")
]
Name = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's name, as `askew snapshot list` shows it.")
]

snapshot = typer.Typer(no_args_is_help=True, help="Make, fetch, verify and restore snapshots of galleries.")


class _Place(Protocol):
    """Where the snapshots are: a server, or a DATA directory. `restore` answers with the items of the new gallery."""

    def listed(self, gallery: str) -> list[Snapshot]: ...

    def create(self, gallery: str, advance: Advance) -> Snapshot: ...

    def download(self, gallery: str, name: str, output: Path) -> None: ...

    def verify(self, gallery: str, name: str, advance: Advance) -> None: ...

    def delete(self, gallery: str, name: str) -> None: ...

    def restore(self, name: str, source: tuple[str, str] | Path, advance: Advance) -> int: ...


@snapshot.command()
def create(
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a snapshot of a gallery as it is now. A server goes on reading and writing meanwhile."""
    with _place(data, server, key) as place, _progress("Copying") as advance:
        made = place.create(gallery, advance)
    typer.echo(made.model_dump_json(indent=1) if as_json else _line(made))


@snapshot.command(name="list")
def list_snapshots(
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List the snapshots that a gallery keeps, the newest first."""
    from askew_client.contract.snapshots import SnapshotList

    with _place(data, server, key) as place:
        found = place.listed(gallery)
    if as_json:
        typer.echo(SnapshotList(snapshots=found).model_dump_json(indent=1))
        return
    for each in found:
        typer.echo(_line(each))
    if not found:
        typer.echo(f"Gallery {gallery!r} keeps no snapshots.", err=True)


@snapshot.command()
def download(
    name: Name,
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
) -> None:
    """Fetch a snapshot as one tar file, verified before it is in its place."""
    with _place(data, server, key) as place:
        place.download(gallery, name, output)
    typer.echo(f"{output} holds snapshot {name} of gallery {gallery!r}.")


@snapshot.command()
def verify(
    what: Annotated[
        str, typer.Argument(metavar="SNAPSHOT|FILE", help="A snapshot's file, or a name with --data or --server.")
    ],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
) -> None:
    """Read a whole snapshot and compare every digest; exit code 1 if any differs. A file needs no server."""
    if data is None and server is None:
        from askew_server.maintenance.snapshot_archive import read_snapshot

        with _progress("Reading") as advance:
            manifest = read_snapshot(Path(what), None, advance)
        typer.echo(
            f"{what} is whole: gallery {manifest.gallery!r} of {manifest.created_at}, {manifest.items} items, "
            f"{manifest.photos} photos, space {manifest.space}."
        )
        return
    with _place(data, server, key) as place, _progress("Reading") as advance:
        place.verify(gallery, what, advance)
    typer.echo(f"Snapshot {what} of gallery {gallery!r} is whole.")


@snapshot.command()
def delete(
    name: Name,
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
) -> None:
    """Delete a snapshot."""
    with _place(data, server, key) as place:
        place.delete(gallery, name)
    typer.echo(f"Snapshot {name} of gallery {gallery!r} is deleted.")


@snapshot.command()
def restore(
    source: Annotated[str, typer.Argument(metavar="SNAPSHOT|FILE", help="A snapshot's file, or with --from its name.")],
    gallery: Annotated[str, typer.Option(help="The gallery to make: a new name, or that of a damaged one.")],
    data: Data = None,
    server: Server = None,
    of: Annotated[str | None, typer.Option("--from", help="The gallery that keeps the snapshot.")] = None,
    key: AdminKey = None,
) -> None:
    """Make a gallery of a snapshot. Nothing is changed unless the snapshot is whole."""
    wanted = Path(source) if of is None else (of, source)
    with _place(data, server, key) as place, _progress("Restoring") as advance:
        items = place.restore(gallery, wanted, advance)
    typer.echo(f"Gallery {gallery!r} holds {items} items.")


@contextmanager
def _place(data: Path | None, server: str | None, key: str | None) -> Iterator[_Place]:
    """The snapshots of a server, or of a DATA directory that is taken meanwhile. Raises AskewError, DataInUse."""
    if server is not None:
        from askew_client import Client

        with Client(server, key=key) as client:
            yield _Served(client)
        return
    if data is None:
        raise AskewError("Say where the gallery is: --data DIR (no server running on it), or --server URL.")
    from askew_server.gallery.catalog import Catalog

    galleries = Catalog(data, owner="askew snapshot")
    try:
        yield _Local(galleries, data / "galleries")
    finally:
        galleries.close()


class _Served:
    """The snapshots of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def listed(self, gallery: str) -> list[Snapshot]:
        return self._client.snapshots(gallery=gallery).snapshots

    def create(self, gallery: str, advance: Advance) -> Snapshot:
        from askew_client.contract.snapshots import Snapshot

        return Snapshot.model_validate(self._result(self._client.create_snapshot(gallery=gallery), advance))

    def download(self, gallery: str, name: str, output: Path) -> None:
        self._client.download_snapshot(name, output, gallery=gallery)

    def verify(self, gallery: str, name: str, advance: Advance) -> None:
        self._result(self._client.verify_snapshot(name, gallery=gallery), advance)

    def delete(self, gallery: str, name: str) -> None:
        self._client.delete_snapshot(name, gallery=gallery)

    def restore(self, name: str, source: tuple[str, str] | Path, advance: Advance) -> int:
        if isinstance(source, Path):
            job = self._client.restore_file(name, source)
        else:
            job = self._client.restore(name, gallery=source[0], snapshot=source[1])
        items = self._result(job, advance)["items"]
        assert isinstance(items, int)
        return items

    def _result(self, job: Job, advance: Advance) -> dict[str, JsonValue]:
        ended = self._client.wait(job, progress=lambda now: advance(now.done, now.total or 0))
        return ended.result or {}


class _Local:
    """The snapshots of a DATA directory. Only a restore opens galleries."""

    def __init__(self, galleries: Catalog, folder: Path) -> None:
        self._galleries = galleries
        self._folder = folder

    def listed(self, gallery: str) -> list[Snapshot]:
        return self._kept(gallery).list()

    def create(self, gallery: str, advance: Advance) -> Snapshot:
        kept = self._kept(gallery)
        kept.remove_unfinished()
        return kept.create(advance)

    def download(self, gallery: str, name: str, output: Path) -> None:
        import shutil

        from askew_server.maintenance.snapshot_archive import read_snapshot

        beside = output.with_name(f".{output.name}.part")
        try:
            shutil.copyfile(self._kept(gallery).path(name), beside)
            read_snapshot(beside, None, _nowhere)
            beside.replace(output)
        finally:
            beside.unlink(missing_ok=True)

    def verify(self, gallery: str, name: str, advance: Advance) -> None:
        self._kept(gallery).verify(name, advance)

    def delete(self, gallery: str, name: str) -> None:
        self._kept(gallery).delete(name)

    def restore(self, name: str, source: tuple[str, str] | Path, advance: Advance) -> int:
        from askew_server.cli.options import checked_gallery_name
        from askew_server.maintenance.restore import restore_gallery

        archive = source if isinstance(source, Path) else self._kept(source[0]).path(source[1])
        self._galleries.load()
        manifest = restore_gallery(self._galleries, checked_gallery_name(name), archive, advance, _nothing)
        return manifest.items

    def _kept(self, gallery: str) -> Snapshots:
        from askew_server.maintenance.snapshots import Snapshots

        folder = gallery_folder(self._galleries, self._folder, gallery)
        return Snapshots(folder.name, folder)


@contextmanager
def _progress(what: str) -> Iterator[Advance]:
    """A bar on stderr that moves by bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


def _line(each: Snapshot) -> str:
    return f"{each.name}  ({each.items} items, {each.photos} photos, {each.bytes:,} bytes, SHA-256 {each.sha256[:12]}…)"


def _nowhere(done: int, total: int) -> None:
    """Progress that nobody watches."""


def _nothing() -> None:
    """Nothing is noted before a restored gallery is taken in: a command is not run twice."""
