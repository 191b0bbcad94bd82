"""The three wheels, built and installed in a clean environment: every module imports, and the data files are there."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import DEMO, ROOT

pytestmark = [pytest.mark.installs, pytest.mark.timeout(1200)]

PACKAGES = {"askew_client": "client", "askew_server": "server", "askew_training": "training"}
DATA_FILES = {
    "askew_client": ("py.typed", "encoding/golden_pictures/"),
    "askew_server": ("py.typed", "http/page/index.html", "http/page/askew-client.js"),
    "askew_training": ("py.typed", "recipes/paper/contrastive-plus.toml", "recipes/small/licences.toml"),
}
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    assert "site-packages" in package.__file__, package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
"""


MINORS = (11, 12, 13)
"""Of the Pythons 3 that the packages' classifiers name."""


def interpreter_of(minor: int) -> Path | None:
    """A Python 3 of this version on this machine: from PATH, or of pyenv."""
    named = shutil.which(f"python3.{minor}")
    pyenv = sorted((Path.home() / ".pyenv/versions").glob(f"3.{minor}.*/bin/python3.{minor}"))
    for path in [*pyenv, *([] if named is None else [Path(named)])]:
        # A shim of pyenv is there, and does not work, where its version is not chosen.
        done = subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, check=False)
        if done.returncode == 0:
            return path
    return None


def run(*command: str | Path) -> str:
    # Nothing of the environment of the tests: no PYTHONPATH, no activated environment.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False, cwd="/")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder,
        *(ROOT / source for source in PACKAGES.values()),
    )  # fmt: skip
    return {package: next(folder.glob(f"{package}-*.whl")) for package in PACKAGES}


@pytest.fixture(scope="module")
def python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the client's and the server's wheels and what these need, from the package index."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin/python"
    client, server = wheels["askew_client"], wheels["askew_server"]
    run(
        interpreter, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "requirements/constraints.txt",
        f"{client}[cpu,cli]", f"{server}[cpu,parquet,tracing]",
    )  # fmt: skip
    return interpreter


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: dict[str, Path], package: str) -> None:
    names = zipfile.ZipFile(wheels[package]).namelist()
    assert {name.split("/")[0] for name in names} == {package, f"{package}-0.2.0.dist-info"}
    for wanted in DATA_FILES[package]:
        assert any(name.startswith(f"{package}/{wanted}") for name in names), wanted
    source = ROOT / PACKAGES[package] / package
    modules = {str(path.relative_to(source.parent)) for path in source.rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_carries_its_licence_its_page_and_its_metadata(wheels: dict[str, Path], package: str) -> None:
    wheel = zipfile.ZipFile(wheels[package])
    about = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert wheel.read(about.replace("METADATA", "licenses/LICENSE")) == (ROOT / "LICENSE").read_bytes()
    metadata = email.message_from_bytes(wheel.read(about))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "The Askew authors"
    assert metadata["Project-URL"].startswith("Paper, https://")
    assert len(metadata.get_all("Classifier", [])) > 5
    readme = (ROOT / PACKAGES[package] / "README.md").read_text()
    assert metadata.get_payload() == readme


def test_the_client_and_the_server_run_without_torch(python: Path) -> None:
    run(python, "-c", IMPORT_ALL, "askew_client", "askew_server")
    assert "student" in run(python.with_name("askew"), "inspect", DEMO / "encoders/student.onnx")
    assert "describe-network" not in run(python.with_name("askew"), "--help")


@pytest.fixture
def served(python: Path, tmp_path: Path) -> Iterator[str]:
    command = [str(python.with_name("askew")), "serve", "--data", str(tmp_path / "data"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/") as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.search(r"https?://[^\s\"]+", line)
        assert address is not None, line
        yield address[0]
        server.terminate()
        server.communicate(timeout=120)


def test_the_page_is_served_from_the_wheel(served: str) -> None:
    with urllib.request.urlopen(f"{served}/", timeout=60) as answer:
        assert b"<title>" in answer.read()
    with urllib.request.urlopen(f"{served}/page/askew-client.js", timeout=60) as answer:
        assert answer.status == 200


def test_the_training_wheel_adds_its_commands(python: Path, wheels: dict[str, Path]) -> None:
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheels["askew_training"])
    # torch alone is five gigabytes: what training needs beyond the wheels is that of the tests' own environment.
    site_packages = next((python.parent.parent / "lib").glob("python*/site-packages"))
    (site_packages / "tests-environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(python, "-c", IMPORT_ALL, "askew_training")
    assert "describe-network" in run(python.with_name("askew"), "--help")


@pytest.mark.drill
@pytest.mark.parametrize("minor", MINORS)
def test_the_wheels_work_on_every_python_that_they_name(minor: int, wheels: dict[str, Path], tmp_path: Path) -> None:
    python = interpreter_of(minor)
    if python is None:
        pytest.skip(f"!! The wheels were NOT tried on Python 3.{minor}: it is not on this machine.")
    run(python, "-m", "venv", tmp_path / "environment")
    interpreter = tmp_path / "environment/bin/python"
    client, server = wheels["askew_client"], wheels["askew_server"]
    run(
        interpreter, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "requirements/constraints.txt",
        f"{client}[cpu,cli]", f"{server}[cpu,parquet,tracing]",
    )  # fmt: skip
    run(interpreter, "-c", IMPORT_ALL, "askew_client", "askew_server")
    assert "student" in run(interpreter.with_name("askew"), "inspect", DEMO / "encoders/student.onnx")
    assert "0.2.0" in run(interpreter.with_name("askew"), "--version")
