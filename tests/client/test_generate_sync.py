"""client/generate_sync.py: the synchronous client is what the asynchronous one gives, and the check sees every difference."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "client" / "generate_sync.py"
PACKAGE = ROOT / "client" / "askew_client"


def generate(package: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--package", str(package), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The two folders of the package, to be changed."""
    for name in ("_async", "_sync"):
        shutil.copytree(PACKAGE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_committed_files_are_what_the_generator_writes(copy: Path) -> None:
    written = {path.name: path.read_text() for path in (PACKAGE / "_sync").glob("*.py")}
    generated = [name for name, text in written.items() if text.startswith("# Generated from _async/")]
    assert sorted(generated) == ["client.py", "connections.py", "pool.py", "search_client.py", "write_client.py"]
    for name in generated:
        (copy / "_sync" / name).unlink()
    done = generate(copy)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in (copy / "_sync").glob("*.py")} == written


@pytest.mark.parametrize("folder", ["_async", "_sync"])
def test_the_check_names_a_file_that_differs(copy: Path, folder: str) -> None:
    path = copy / folder / "client.py"
    path.write_text(path.read_text().replace('"""Delete a snapshot."""', '"""Delete one snapshot."""'))
    done = generate(copy, "--check")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(copy / "_sync" / "client.py") in line
    assert "pool.py" not in line
    assert "make unasync" in line


def test_the_check_names_a_file_that_has_no_source(copy: Path) -> None:
    (copy / "_async" / "pool.py").unlink()
    done = generate(copy, "--check")
    assert done.returncode == 1
    assert str(copy / "_sync" / "pool.py") in done.stderr


def test_asynchronous_words_that_no_rule_replaces_are_an_error(copy: Path) -> None:
    path = copy / "_async" / "client.py"
    path.write_text(
        path.read_text().replace('"""Delete a snapshot."""', '"""Await that a snapshot is deleted: `await`."""')
    )
    done = generate(copy)
    assert done.returncode == 1
    assert "client.py still says 'await' in line" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("Add a rule to generate_sync.py.")
