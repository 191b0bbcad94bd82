"""A question before something is deleted that nothing can bring back, or before a switch that phones will notice."""

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
    _ask(f"Delete {what}? Nothing brings it back.", "Nothing was deleted.")


def confirm_switch(consequence: str, *, yes: bool) -> None:
    """Ask on the terminal whether to switch, after a sentence that says what that entails, unless `yes`.

    Raises AskewError if there is no terminal to ask on.
    """
    if yes:
        typer.echo(f"askew: {consequence}", err=True)
        return
    if not sys.stdin.isatty():
        raise AskewError(
            f"{consequence} Expected --yes to switch nevertheless, because there is no terminal to ask on. Nothing was switched."
        )
    _ask(f"{consequence} Switch nevertheless?", "Nothing was switched.")


def _ask(question: str, otherwise: str) -> None:
    # Not typer.confirm: it writes to stdout, which holds a command's result alone.
    typer.echo(f"{question} [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        typer.echo(otherwise, err=True)
        raise typer.Exit(1)
