"""Finds and runs the commands of all installed Askew packages. Needs typer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Annotated

import typer
from typer.main import get_command

from askew_client.contract.errors import AskewError, sentence_of

COMMANDS = "askew.commands"
"""The group of entry points that are commands: functions, or Typers for groups of commands."""


def run_command(arguments: Sequence[str], commands: Iterable[metadata.EntryPoint] | None = None) -> None:
    """Run one command. Raises SystemExit at its end, or what the command raises.

    `arguments`: the command line without the program's name. `commands`: None: those of all installed packages.
    """
    known = sorted(metadata.entry_points(group=COMMANDS) if commands is None else commands, key=lambda each: each.name)
    # A command that is named first is imported alone: importing all of them takes longer than most commands.
    called = [each for each in known if each.name == next(iter(arguments), None)]
    app = typer.Typer(add_completion=False)
    app.callback(invoke_without_command=True)(_askew)
    for entry_point in called or known:
        _register(app, entry_point)
    # Not app(): that installs its own exception hook.
    get_command(app)(args=list(arguments), prog_name="askew")


def _askew(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Visual search: a large teacher describes the gallery, a small student describes the query."""
    if version:
        typer.echo(f"askew {metadata.version('askew-client')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _register(app: typer.Typer, entry_point: metadata.EntryPoint) -> None:
    """Add a command. One that cannot be imported reports that when it is called; the others work."""
    try:
        command: Callable[..., object] | typer.Typer = entry_point.load()
    # An import may fail in any way, which matters only when a user calls the command.
    except Exception as error:  # noqa: BLE001
        reason = sentence_of(error)

        def unavailable() -> None:
            raise AskewError(
                f"The command {entry_point.name!r} cannot be loaded: {reason} Reinstall the package that has it."
            )

        lenient = {"ignore_unknown_options": True, "allow_extra_args": True}
        app.command(entry_point.name, help=f"(cannot be loaded: {reason})", context_settings=lenient)(unavailable)
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry_point.name)
    else:
        app.command(entry_point.name)(command)
