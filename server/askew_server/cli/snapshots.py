"""`askew snapshot …`: on a running server, in a DATA directory without one, or on a file alone (verify)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from askew_client.errors import AskewError
from askew_server.cli.confirmation import confirm_deletion
from askew_server.cli.options import AdminKey, AsJson, Data, GalleryOption, Server, Yes, check_name
from askew_server.cli.target import OwnedData, is_target_in_environment, open_target
from askew_server.cli.terminal import Advance, show_progress

if TYPE_CHECKING:
    from pydantic import BaseModel

    from askew_client import Client
    from askew_client.contract.jobs import Job
    from askew_client.contract.snapshots import Snapshot, SnapshotList
    from askew_server.maintenance.snapshots import Snapshots

Result = TypeVar("Result", bound="BaseModel")

SnapshotName = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's name, as `askew snapshot list` shows it.")
]

snapshot = typer.Typer(no_args_is_help=True, help="Make, fetch, verify and restore snapshots of galleries.")


@snapshot.command()
def create(
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a snapshot of a gallery as it is now. A server continues to read and write in the meantime."""
    with _open(data, server, key) as snapshots, show_progress("Copying", "bytes") as advance:
        made = snapshots.create(gallery, advance)
    typer.echo(made.model_dump_json(indent=1) if as_json else _summary(made))


@snapshot.command(name="list")
def list_snapshots(
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List the snapshots of a gallery, newest first."""
    with _open(data, server, key) as snapshots:
        found = snapshots.list(gallery)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for each in found.snapshots:
        typer.echo(_summary(each))
    if not found.snapshots:
        typer.echo(f"Gallery {gallery!r} has no snapshots.", err=True)


@snapshot.command()
def download(
    name: SnapshotName,
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
) -> None:
    """Fetch a snapshot as one tar file. It is verified before it replaces the file that was there."""
    with _open(data, server, key) as snapshots:
        snapshots.download(gallery, name, output)
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
    if data is None and server is None and (Path(what).exists() or not is_target_in_environment()):
        from askew_server.maintenance.snapshot_archive import read_snapshot

        with show_progress("Reading", "bytes") as advance:
            manifest = read_snapshot(Path(what), None, advance)
        typer.echo(
            f"{what} is whole: gallery {manifest.gallery!r} of {manifest.created_at}, {manifest.items} items, "
            f"{manifest.photos} photos, space {manifest.space}."
        )
        return
    with _open(data, server, key) as snapshots, show_progress("Reading", "bytes") as advance:
        snapshots.verify(gallery, what, advance)
    typer.echo(f"Snapshot {what} of gallery {gallery!r} is whole.")


@snapshot.command()
def delete(
    name: SnapshotName,
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    key: AdminKey = None,
    yes: Yes = False,
) -> None:
    """Delete a snapshot."""
    with _open(data, server, key) as snapshots:
        confirm_deletion(f"snapshot {name} of gallery {gallery!r}", yes=yes)
        snapshots.delete(gallery, name)
    typer.echo(f"Snapshot {name} of gallery {gallery!r} is deleted.")


@snapshot.command()
def restore(
    source: Annotated[str, typer.Argument(metavar="SNAPSHOT|FILE", help="A snapshot's file, or its name with --from.")],
    gallery: Annotated[str, typer.Option(help="The gallery to create: a new name, or that of a damaged one.")],
    data: Data = None,
    server: Server = None,
    of: Annotated[str | None, typer.Option("--from", help="The gallery that keeps the snapshot.")] = None,
    key: AdminKey = None,
) -> None:
    """Create a gallery from a snapshot. Nothing changes unless the whole snapshot is valid."""
    check_name(gallery)
    with _open(data, server, key, makes_data=True) as snapshots, show_progress("Restoring", "bytes") as advance:
        if of is None:
            items = snapshots.restore_file(gallery, Path(source), advance)
        else:
            items = snapshots.restore(gallery, of, source, advance)
    typer.echo(f"Gallery {gallery!r} holds {items} items.")


class _Snapshots(Protocol):
    """The snapshots of a server or of a DATA directory."""

    def list(self, gallery: str) -> SnapshotList: ...

    def create(self, gallery: str, advance: Advance) -> Snapshot: ...

    def download(self, gallery: str, name: str, output: Path) -> None: ...

    def verify(self, gallery: str, name: str, advance: Advance) -> None: ...

    def delete(self, gallery: str, name: str) -> None: ...

    def restore(self, into: str, gallery: str, name: str, advance: Advance) -> int:
        """Create the gallery `into` from a snapshot that a gallery keeps: the number of its items."""

    def restore_file(self, into: str, file: Path, advance: Advance) -> int:
        """Create the gallery `into` from a snapshot file: the number of its items."""


def _open(
    data: Path | None, server: str | None, key: str | None, *, makes_data: bool = False
) -> AbstractContextManager[_Snapshots]:
    return open_target(
        data,
        server,
        key,
        command="askew snapshot",
        served=_ServedSnapshots,
        local=_LocalSnapshots,
        opens_galleries=False,
        makes_data=makes_data,
    )


class _ServedSnapshots:
    """The snapshots of a running server, which works on them in jobs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, gallery: str) -> SnapshotList:
        return self._client.snapshots(gallery=gallery)

    def create(self, gallery: str, advance: Advance) -> Snapshot:
        from askew_client.contract.snapshots import Snapshot

        return self._wait(self._client.create_snapshot(gallery=gallery), advance, Snapshot)

    def download(self, gallery: str, name: str, output: Path) -> None:
        self._client.download_snapshot(name, output, gallery=gallery)

    def verify(self, gallery: str, name: str, advance: Advance) -> None:
        from askew_client.contract.snapshots import Snapshot

        self._wait(self._client.verify_snapshot(name, gallery=gallery), advance, Snapshot)

    def delete(self, gallery: str, name: str) -> None:
        self._client.delete_snapshot(name, gallery=gallery)

    def restore(self, into: str, gallery: str, name: str, advance: Advance) -> int:
        return self._wait_for_restore(self._client.restore(into, gallery=gallery, snapshot=name), advance)

    def restore_file(self, into: str, file: Path, advance: Advance) -> int:
        return self._wait_for_restore(self._client.restore_file(into, file), advance)

    def _wait_for_restore(self, job: Job, advance: Advance) -> int:
        from askew_client.contract.jobs import RestoreResult

        return self._wait(job, advance, RestoreResult).items

    def _wait(self, job: Job, advance: Advance, expected: type[Result]) -> Result:
        """The result of a job, once it is done. Raises AskewError if it is not what this version expects."""
        from pydantic import ValidationError

        result = self._client.wait(job, progress=lambda now: advance(now.done, now.total)).result
        try:
            return expected.model_validate(result)
        except ValidationError as error:
            raise AskewError(
                f"Expected a {expected.__name__} as the result of job {job.id}, got {str(result)[:80]!r}. Is the server "
                "another version?"
            ) from error


class _LocalSnapshots:
    """The snapshots of a DATA directory. Only a restore opens its galleries."""

    def __init__(self, owned: OwnedData) -> None:
        self._owned = owned

    def list(self, gallery: str) -> SnapshotList:
        from askew_client.contract.snapshots import SnapshotList

        return SnapshotList(snapshots=self._of(gallery).list())

    def create(self, gallery: str, advance: Advance) -> Snapshot:
        snapshots = self._of(gallery)
        snapshots.remove_unfinished()
        return snapshots.create(advance)

    def download(self, gallery: str, name: str, output: Path) -> None:
        self._of(gallery).copy_to(name, output)

    def verify(self, gallery: str, name: str, advance: Advance) -> None:
        self._of(gallery).verify(name, advance)

    def delete(self, gallery: str, name: str) -> None:
        self._of(gallery).delete(name)

    def restore(self, into: str, gallery: str, name: str, advance: Advance) -> int:
        return self.restore_file(into, self._of(gallery).path(name), advance)

    def restore_file(self, into: str, file: Path, advance: Advance) -> int:
        from askew_server.maintenance.restore import restore_gallery

        catalog = self._owned.catalog
        catalog.load()
        # A job notes what it has done before the gallery is taken in; a command is not resumed.
        manifest = restore_gallery(catalog, into, file, advance, before_adoption=lambda: None)
        return manifest.items

    def _of(self, gallery: str) -> Snapshots:
        from askew_server.maintenance.snapshots import Snapshots

        folder = self._owned.gallery_folder(gallery)
        return Snapshots(folder.name, folder)


def _summary(each: Snapshot) -> str:
    return f"{each.name}  ({each.items} items, {each.photos} photos, {each.bytes:,} bytes, SHA-256 {each.sha256[:12]}…)"
