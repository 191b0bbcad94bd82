"""`askew gallery compact`: remove what deleted items left behind in the files of a gallery."""

from __future__ import annotations

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import Data, GalleryArgument
from askew_server.cli.target import OwnedData, open_target


def compact(name: GalleryArgument, data: Data = None) -> None:
    """Remove from the files of a gallery what deleted items left behind: free pages, the log, rows of the index.

    For a DATA directory that no server is using. Snapshots are not changed.
    """
    if data is None:
        raise AskewError("Expected --data DIR: a DATA directory that no server is using. Stop the server first.")
    with open_target(
        data, None, None, command="askew gallery compact", served=_never, local=lambda owned: owned
    ) as owned:
        from askew_server.maintenance.compaction import compact_gallery
        from askew_server.maintenance.snapshots import Snapshots

        gallery = owned.catalog.get(name)
        size = gallery.run(compact_gallery)
        kept = len(Snapshots(gallery.name, owned.catalog.folder(gallery.name)).list())
    typer.echo(f"Gallery {gallery.name!r} holds nothing of deleted items any more; its database has {size:,} bytes.")
    if kept:
        typer.echo(
            f"askew: it has {kept} snapshots, which hold what was deleted after they were made (askew snapshot list).",
            err=True,
        )


def _never(_: object) -> OwnedData:
    raise AssertionError("no server was named")
