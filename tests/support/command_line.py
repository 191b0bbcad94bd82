"""The command line inside the test's own process, for what is not about the process."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

from askew_client.cli.main import main


def call_askew(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; as `run_askew`, but in this process."""
    given = [*map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(given)
        except SystemExit as stop:
            code = stop.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess(["askew", *given], code, out.getvalue(), err.getvalue())
