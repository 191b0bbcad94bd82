"""The files that a command will write, looked at before its work: what it reads is never replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer


def check_checkpoint(output: Path, inputs: Iterable[Path | None]) -> None:
    """Look at the checkpoint that a command will write, before hours of work.

    `inputs`: the files that it reads. Raises typer.BadParameter if the output is one of them, and DataError if it cannot become
    a file.
    """
    from askew_training.export.encoder_file import check_output

    check_output(output)
    check_no_input("OUTPUT", output, inputs)


def check_no_input(option: str, output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Raise typer.BadParameter if `output`, if any, is one of the files that are read. `option`: what the user called it."""
    if output is None or not output.exists():
        return
    for each in inputs:
        if each is not None and each.exists() and output.samefile(each):
            raise typer.BadParameter(f"{output} is a file to read: name another one", param_hint=option)
