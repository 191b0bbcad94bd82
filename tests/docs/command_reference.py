"""Writes docs/commands.md to stdout: every command with its arguments and options, from the commands themselves."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from askew_client.cli.registry import make_application

HEAD = """# Every command

The output of `askew COMMAND --help` for every command, written by `make commands`. How the commands are used: [server.md](server.md), [client.md](client.md), [training.md](training.md) and the other pages.

"""


def command_reference() -> str:
    """The page as Markdown."""
    sections = [
        _section(name, command)
        for name, command in leaves("askew", make_application(entry_points(group="askew.commands")))
    ]
    return HEAD + "\n".join(sections)


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that is not a group of commands, with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for each in sorted(inner):
        yield from leaves(f"{name} {each}", inner[each])


def _section(name: str, command: Any) -> str:
    lines = [f"## `{name}`", "", inspect.cleandoc(command.help or ""), ""]
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        lines += ["| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(parameter: Any) -> str:
    is_flag = getattr(parameter, "is_flag", False)
    if parameter.param_type_name == "argument":
        called = parameter.name.upper().replace("_", "-")
    else:
        called = ", ".join([*parameter.opts, *parameter.secondary_opts])
        called += "" if is_flag else " …"
    notes = [_one_line(parameter.help)]
    if parameter.required and parameter.param_type_name == "option":
        notes.append("Required.")
    if not is_flag and isinstance(parameter.default, str | int | float) and parameter.default != "":
        notes.append(f"Default: `{parameter.default}`.")
    return f"| `{called}` | {' '.join(note for note in notes if note)} |"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(command_reference())
