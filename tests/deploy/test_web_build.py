"""The web app that the server ships is what `make web` builds from client/web."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = [pytest.mark.installs, pytest.mark.timeout(600)]

PYTHON = ROOT / ".venv-web" / "bin" / "python"
SHIPPED = ROOT / "server" / "askew_server" / "http" / "page"
UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "ECONNRESET")


def test_the_shipped_app_is_what_its_sources_give(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip(
            "!! NOT RUN: the web app was not rebuilt, because .venv-web is missing. Run `make test` or `make web`."
        )
    sources, into = tmp_path / "web", tmp_path / "page"
    shutil.copytree(
        ROOT / "client" / "web", sources, ignore=shutil.ignore_patterns("node_modules", "dist", "__pycache__")
    )
    command: list[str | Path] = [PYTHON, ROOT / "client" / "web" / "build.py", "--sources", sources, "--into", into]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0 and any(code in built.stderr for code in UNREACHABLE):
        pytest.skip("!! NOT RUN: the web app was not rebuilt, because the npm registry cannot be reached.")
    assert built.returncode == 0, built.stdout + built.stderr
    assert _contents(into) == _contents(SHIPPED), "Run `make web` and commit what it writes."


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
