"""Finds and runs the commands of all installed Askew packages. Needs typer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.main import get_command

from askew_client.contract.errors import AskewError, sentence_of

COMMANDS = "askew.commands"
"""The group of entry points that are commands: functions, or Typers for groups of commands."""

_PANELS = {
    "askew-client": "Describe and search",
    "askew-server": "Galleries and the server",
    "askew-training": "Train and evaluate",
}
"""The heading of each package's commands, in the order of the help."""
_OTHER_PANEL = "Other commands"


def run_command(arguments: Sequence[str], commands: Iterable[metadata.EntryPoint] | None = None) -> None:
    """Run one command. Raises SystemExit at its end, or what the command raises.

    `arguments`: the command line without the program's name. `commands`: None: those of all installed packages.
    """
    known = sorted(metadata.entry_points(group=COMMANDS) if commands is None else commands, key=_place)
    # A command that is named first is imported alone: importing all of them takes longer than most commands.
    called = [each for each in known if each.name == next(iter(arguments), None)]
    # Not app(): that installs its own exception hook.
    make_application(called or known)(args=list(arguments), prog_name="askew")


def make_application(commands: Iterable[metadata.EntryPoint]) -> Any:
    """One click command with these commands below it, and options to install completion in a shell."""
    app = typer.Typer()
    app.callback(invoke_without_command=True)(_askew)
    for entry_point in commands:
        _register(app, entry_point)
    application = get_command(app)
    _tidy_help(application)
    return application


def _place(entry_point: metadata.EntryPoint) -> tuple[int, str]:
    """Where the help lists a command: by package, then by name."""
    return [*_PANELS.values(), _OTHER_PANEL].index(_panel(entry_point)), entry_point.name


def _panel(entry_point: metadata.EntryPoint) -> str:
    return _PANELS.get(entry_point.dist.name, _OTHER_PANEL) if entry_point.dist else _OTHER_PANEL


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
    panel = _panel(entry_point)
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
        app.command(
            entry_point.name,
            help=f"(cannot be loaded: {reason})",
            context_settings=lenient,
            rich_help_panel=panel,
        )(unavailable)
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry_point.name, rich_help_panel=panel)
    else:
        app.command(entry_point.name, rich_help_panel=panel)(command)


def _tidy_help(application: Any) -> None:
    """Let the terminal wrap paragraphs, and take `<bool>` off flags, after which a reader would type a value."""
    for command in _commands_below(application):
        if command.help:
            paragraphs = inspect.cleandoc(command.help).split("\n\n")
            command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        for parameter in command.get_params(typer.Context(command)):
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""


def _commands_below(command: Any) -> Iterator[Any]:
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _commands_below(each)
