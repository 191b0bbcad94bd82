"""The command line inside the test's own process, for tests of what a command does.

What is about the process itself (signals, kills, the lock that another process holds) starts one: running_server.py.
"""

from __future__ import annotations

import io
import subprocess
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from askew_client.cli.main import main


def call_askew(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one command of `askew`; its exit code and what it printed."""
    command = [str(argument) for argument in arguments]
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with warnings.catch_warnings(), redirect_stdout(output), redirect_stderr(errors):
        try:
            main(command)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return subprocess.CompletedProcess(["askew", *command], code, output.getvalue(), errors.getvalue())
