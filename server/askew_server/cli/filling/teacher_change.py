"""`askew gallery change-teacher`: another teacher for the gallery that an alias names, without an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.errors import AskewError
from askew_server.cli.confirmation import confirm_switch
from askew_server.cli.options import AdminKey, AliasArgument, Server, check_name
from askew_server.cli.target import choose_target
from askew_server.cli.terminal import show_progress

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.jobs import ChangeTeacherEstimate, ChangeTeacherResult, Job


def change_teacher(
    alias: AliasArgument,
    to: Annotated[
        str,
        typer.Option(metavar="GALLERY", help="The gallery of the new teacher. Its photos become those of the alias."),
    ],
    encoder: Annotated[
        Path | None, typer.Option(help="The new teacher's file: makes that gallery unless there is one.")
    ] = None,
    student: Annotated[
        list[Path] | None,
        typer.Option(help="A student's file, to be admitted to the new gallery before the switch; may be repeated."),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Also if items cannot be described: the new gallery lacks them.")
    ] = False,
    hold: Annotated[
        int, typer.Option(min=1, max=60, help="How many seconds writes may be refused at the end, at most.")
    ] = 10,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only make the new gallery, and estimate the work.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before switching to a gallery that has admitted no student.")
    ] = False,
    server: Server = None,
    key: AdminKey = None,
) -> None:
    """Change the teacher of an alias: describe its gallery's photos anew into another gallery, and switch the alias.

    Searches go on, and writes do until the last seconds: then they are refused with 503 and Retry-After. What was
    acknowledged is in the new gallery, and the old one is kept. The server works in a job, which goes on if this command
    or the server is killed: give the same command again.
    """
    from askew_client import Client

    check_name(alias)
    check_name(to)
    _, url = choose_target(None, server)
    if url is None:
        raise AskewError("Expected --server URL: the teacher is changed while a server serves. Start one with --data.")
    with Client(url, timeout=60, key=key) as client:
        # Before a gallery is made for it.
        _check_alias(client, alias)
        _wait_for_earlier(client, alias)
        if client.aliases().aliases.get(alias) == to:
            typer.echo(f"Alias {alias!r} names gallery {to!r}.")
            return
        if encoder is not None:
            client.create_gallery(to, encoder)
        estimated = client.estimate_teacher_change(alias, to=to)
        typer.echo(_of_estimate(estimated), err=True)
        if client.galleries().default_gallery == estimated.gallery:
            typer.echo(
                f"askew: clients that name no gallery (POST /search) are answered from {estimated.gallery!r} by its own name, "
                f"and stay there: start the server with --gallery {alias}.",
                err=True,
            )
        if estimate:
            return
        _run(client, client.change_teacher(alias, to=to, accept_loss=accept_loss, hold_seconds=hold, switch=False))
        for file in student or []:
            typer.echo(f"{client.admit(file, gallery=to).id} is admitted to gallery {to!r}.", err=True)
        _say_who_is_served(client, estimated, yes=yes)
        done = _run(client, client.change_teacher(alias, to=to, accept_loss=accept_loss, hold_seconds=hold))
    typer.echo(_of_result(done))


def _check_alias(client: Client, alias: str) -> None:
    known = client.aliases().aliases
    if alias in known:
        return
    names = ", ".join(known) or "none yet"
    if any(each.name == alias for each in client.galleries().galleries):
        raise AskewError(
            f"{alias!r} is a gallery, and what is switched is an alias. Known: {names}. Make one (`askew alias set live "
            f"{alias}`), and let its clients use that name. Nothing was changed."
        )
    raise AskewError(
        f"There is no alias {alias!r}, so nothing can be switched. Known: {names}. Make one (`askew alias set`), and let its "
        "clients use that name. Nothing was changed."
    )


def _wait_for_earlier(client: Client, alias: str) -> None:
    """Wait for a change that was begun by this command, before it or the server was killed."""
    from askew_client.contract.jobs import ENDED_STATES
    from askew_client.errors import JobFailed

    for job in client.jobs(gallery=alias, limit=1000).jobs:
        if job.kind == "change-teacher" and job.state not in ENDED_STATES:
            typer.echo(f"askew: job {job.id} is changing the teacher already; waiting for it.", err=True)
            try:
                client.wait(job)
            except JobFailed as error:
                typer.echo(f"askew: it ended without a switch: {error}", err=True)


def _run(client: Client, job: Job) -> ChangeTeacherResult:
    """The result of a job, once it is done."""
    from askew_client.contract.jobs import ChangeTeacherResult

    with show_progress("Describing", "photos") as advance:
        ended = client.wait(job, progress=lambda now: advance(now.done, now.total))
    return ChangeTeacherResult.model_validate(ended.result)


def _say_who_is_served(client: Client, estimated: ChangeTeacherEstimate, *, yes: bool) -> None:
    """Say which encoders the new gallery serves, and ask if phones would be left without any."""
    new = client.gallery(estimated.to)
    students = [each for each in new.admitted_encoders if each != new.teacher]
    left_behind = [each for each in estimated.encoders_left_behind if each not in students]
    served = f"Gallery {new.name!r} answers queries of its teacher {new.teacher}"
    typer.echo(f"{served} and of {', '.join(students)}." if students else f"{served} alone.", err=True)
    if not left_behind:
        return
    consequence = (
        f"Queries of {', '.join(left_behind)} get 409 after the switch, until those phones have fetched a student of "
        f"gallery {new.name!r}."
    )
    if students:
        typer.echo(f"askew: {consequence}", err=True)
        return
    confirm_switch(f"{consequence} It has none: admit one with --student FILE.", yes=yes)


def _of_estimate(found: ChangeTeacherEstimate) -> str:
    lines = [
        f"{found.photos} photos of gallery {found.gallery!r} are to be described into {found.to!r}: about "
        f"{found.seconds:.0f} s, {found.bytes / 1e6:.1f} MB. {found.items_without_photo} items have no photo, and cannot be."
    ]
    if found.other_aliases:
        others = ", ".join(map(repr, found.other_aliases))
        lines.append(f"{others} names gallery {found.gallery!r} as well, and is not switched.")
    return "\n".join(lines)


def _of_result(done: ChangeTeacherResult) -> str:
    lost = done.items_without_photo + done.refused
    lacks = f" It lacks {lost} items that could not be described." if lost else ""
    return (
        f"Alias {done.alias!r} names gallery {done.to!r}; before: {done.gallery!r}, which is kept. "
        f"{done.verification.items} items, writes refused for {done.held_seconds:.2f} s.{lacks}"
    )
