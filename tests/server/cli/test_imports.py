"""The commands are imported without what is heavy, so that `askew --help` is quick."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

HEAVY = ("numpy", "PIL", "onnxruntime", "faiss", "fastapi", "starlette", "uvicorn", "httpx", "structlog", "sqlite3")


@pytest.mark.slow
def test_the_commands_import_nothing_heavy() -> None:
    commands = {
        point.module for point in entry_points(group="askew.commands") if point.module.startswith("askew_server")
    }
    assert len(commands) == 11
    program = (
        f"import sys, {', '.join(sorted(commands))}\n"
        f"found = [name for name in {HEAVY} if name in sys.modules]\n"
        "sys.exit(f'imported: {found}' if found else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
