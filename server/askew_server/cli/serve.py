"""`askew serve`."""

from __future__ import annotations

import inspect
from pathlib import PurePath
from typing import Annotated, Any

import typer

from askew_server.settings import SettingDescription, describe_settings, read_settings


def serve(**options: object) -> None:
    """Serve the galleries of a DATA directory over HTTP, with a page at /."""
    from askew_server.http.server import run_server

    run_server(read_settings({name: value for name, value in options.items() if value is not None}))


def _signature() -> inspect.Signature:
    """What typer reads the options from: a parameter for each setting that is marked as an option."""
    marked = [each for each in describe_settings().values() if each.option is not None]
    return inspect.Signature([_parameter(setting) for setting in marked])


def _parameter(setting: SettingDescription) -> inspect.Parameter:
    kind: Any = setting.field.annotation
    # None: the option is not given, so the environment variable is used.
    annotation: object = Annotated[kind | None, typer.Option(setting.option, help=_help(setting))]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(setting: SettingDescription) -> str:
    notes = [setting.environment]
    is_shown = isinstance(setting.default, str | int | PurePath) and not isinstance(setting.default, bool)
    if is_shown and setting.default != "":
        notes.append(str(setting.default))
    return f"{setting.text.replace('`', '')} [{'; '.join(notes)}]"


serve.__signature__ = _signature()  # type: ignore[attr-defined]
