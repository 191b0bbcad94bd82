"""A question before something is deleted that nothing can bring back."""

from __future__ import annotations

import sys

import typer

from askew_client.errors import AskewError


def confirm_deletion(what: str, *, yes: bool) -> None:
    """Ask on the terminal whether to delete `what`, unless `yes`. Ends the command if the answer is no.

    Raises AskewError if there is no terminal to ask on: a script must say --yes.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise AskewError(
            f"Expected --yes to delete {what}, because there is no terminal to ask on. Nothing was deleted."
        )
    # Not typer.confirm: it writes to stdout, which holds a command's result alone.
    typer.echo(f"Delete {what}? Nothing brings it back. [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        typer.echo("Nothing was deleted.", err=True)
        raise typer.Exit(1)
