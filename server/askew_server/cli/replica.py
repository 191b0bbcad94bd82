"""`askew replica status`, `askew replica promote`, `askew replica discard`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import AdminKey, AsJson, Data, Server
from askew_server.cli.target import choose_target, open_target

if TYPE_CHECKING:
    from askew_client.contract.health import ReplicationStatus

replica = typer.Typer(no_args_is_help=True, help="Read replicas: how far behind they are, and their promotion.")


@replica.command()
def status(server: Server = None, admin_key: AdminKey = None, as_json: AsJson = False) -> None:
    """Show whether a running server is a primary or a replica, and how far behind it is."""
    from askew_client import Client

    _, url = choose_target(None, server)
    if url is None:
        raise AskewError("Expected --server URL: only a running server knows how far behind it is.")
    with Client(url, key=admin_key) as client:
        found = client.replication()
    typer.echo(found.model_dump_json(indent=1, exclude_none=True) if as_json else _described(found))


@replica.command()
def promote(
    target: Annotated[
        str, typer.Argument(metavar="URL|DATA", help="The replica: its address, or its DATA if no server uses that.")
    ],
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Also if changes of the primary are missing, or if nobody knows whether any are."
        ),
    ] = False,
    admin_key: AdminKey = None,
) -> None:
    """Make a replica the primary. The old primary takes no more changes from the moment it hears of that."""
    if target.startswith(("http://", "https://")):
        _promote_server(target.rstrip("/"), admin_key, accept_loss=accept_loss)
        return
    from askew_server.replication.offline import promote_data

    with open_target(
        Path(target), None, None, command="askew replica promote", served=_no_server, local=lambda owned: owned,
        opens_galleries=False,
    ) as owned:  # fmt: skip
        assert owned is not None
        record, unreadable = promote_data(owned.folder, accept_loss=accept_loss)
    for sentence in unreadable:
        typer.echo(f"askew: {sentence}", err=True)
    typer.echo(f"{target} is the primary's since epoch {record.epoch.number}. Start its server without --follow.")


@replica.command()
def discard(
    gallery: Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's name.")], data: Data = None
) -> None:
    """Move a gallery of a replica out of the way, for example one that has diverged; it is then copied again."""
    from askew_server.replication.offline import discard_copy

    folder, _ = choose_target(data, None)
    if folder is None:
        raise AskewError("Expected --data DIR: a copy is discarded while no server uses the DATA directory.")
    with open_target(
        folder, None, None, command="askew replica discard", served=_no_server, local=lambda owned: owned,
        opens_galleries=False,
    ) as owned:  # fmt: skip
        assert owned is not None
        place = discard_copy(owned.folder, owned.catalog, gallery)
    typer.echo(f"Gallery {gallery!r} is in {place} now. Look at what only it had, then remove that folder.")


def _promote_server(url: str, admin_key: str | None, *, accept_loss: bool) -> None:
    from askew_client import Client

    with Client(url, key=admin_key) as client:
        done = client.promote(accept_loss=accept_loss, address=url)
    typer.echo(f"{url} is the primary since epoch {done.epoch}.")
    if done.is_fenced:
        typer.echo(f"{done.superseded} takes no more changes, and everything that it acknowledged is here.")
        return
    age = (
        ""
        if done.staleness_seconds is None
        else f" This server had everything of it {done.staleness_seconds:.0f} s ago."
    )
    typer.echo(
        f"{done.superseded} does not answer, or not all of its changes could be copied.{age} It is told to take no more "
        f"changes as soon as it answers; start it with "
        f"--follow {url}.",
        err=True,
    )


def _described(found: ReplicationStatus) -> str:
    word = "of" if found.role == "replica" else "by"
    lines = [f"{found.role}{f' {word} {found.primary}' if found.primary else ''}, epoch {found.epoch}"]
    if found.staleness_seconds is not None:
        lines.append(f"had everything {found.staleness_seconds:.1f} s ago")
    elif found.role == "replica":
        lines.append("has not copied everything yet")
    lines += [found.trouble] if found.trouble else []
    for gallery in found.galleries:
        behind = "not asked yet" if gallery.behind is None else f"{gallery.behind:,} changes behind"
        lines.append(f"gallery {gallery.name!r}: change {gallery.sequence:,}, {gallery.trouble or behind}")
    return "\n".join(lines)


def _no_server(_: object) -> None:
    """A server does this by another call."""
