"""client/generate_sync.py: the synchronous client is what the asynchronous one gives, and the check sees every difference."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "client" / "askew_client"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The script as a module."""
    spec = spec_from_file_location("generate_sync", ROOT / "client" / "generate_sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refused(generator: ModuleType, package: Path, *options: str) -> str:
    """What a run that fails prints: the message of SystemExit, with which Python sets the exit code 1."""
    with pytest.raises(SystemExit) as stop:
        generator.main(["--package", str(package), *options])
    assert isinstance(stop.value.code, str)
    return stop.value.code


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The two folders of the package, to be changed."""
    for name in ("_async", "_sync"):
        shutil.copytree(PACKAGE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_the_committed_files_are_what_the_generator_writes(generator: ModuleType, copy: Path) -> None:
    written = {path.name: path.read_text() for path in (PACKAGE / "_sync").glob("*.py")}
    generated = [name for name, text in written.items() if text.startswith("# Generated from _async/")]
    assert sorted(generated) == ["client.py", "connections.py", "pool.py", "search_client.py", "write_client.py"]
    for name in generated:
        (copy / "_sync" / name).unlink()
    generator.main(["--package", str(copy)])
    assert {path.name: path.read_text() for path in (copy / "_sync").glob("*.py")} == written


@pytest.mark.slow
def test_the_check_of_unchanged_files_passes() -> None:
    command = [sys.executable, str(ROOT / "client" / "generate_sync.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["_async", "_sync"])
def test_the_check_names_a_file_that_differs(generator: ModuleType, copy: Path, folder: str) -> None:
    path = copy / folder / "client.py"
    path.write_text(path.read_text().replace('"""Delete a snapshot."""', '"""Delete one snapshot."""'))
    before = (copy / "_sync" / "client.py").read_text()
    message = refused(generator, copy, "--check")
    assert str(copy / "_sync" / "client.py") in message
    assert "pool.py" not in message
    assert "make unasync" in message
    assert (copy / "_sync" / "client.py").read_text() == before


@pytest.mark.slow
def test_the_check_names_a_file_that_has_no_source(generator: ModuleType, copy: Path) -> None:
    (copy / "_async" / "pool.py").unlink()
    assert str(copy / "_sync" / "pool.py") in refused(generator, copy, "--check")
    generator.main(["--package", str(copy)])
    generator.main(["--package", str(copy), "--check"])


def test_asynchronous_words_that_no_rule_replaces_are_an_error(generator: ModuleType, copy: Path) -> None:
    path = copy / "_async" / "client.py"
    path.write_text(path.read_text().replace('"""Delete a snapshot."""', '"""Delete it: `await` this."""'))
    message = refused(generator, copy)
    assert "client.py still says 'await' in line" in message
    assert message.endswith("Add a rule to generate_sync.py.")
