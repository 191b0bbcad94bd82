"""Lines on stderr about an answer that is right, and perhaps not what was meant."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def warn_of_unknown_fields(fields: Sequence[str]) -> None:
    """Say which fields of a filter, or of `group_by`, no item of the gallery has. Prints nothing without any."""
    if fields:
        noun = "field" if len(fields) == 1 else "fields"
        named = ", ".join(repr(field[:200]) for field in fields)
        typer.echo(f"askew: warning: no item of the gallery has the {noun} {named}. Check how it is written.", err=True)
