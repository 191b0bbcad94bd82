"""The contracts of import-linter in pyproject.toml: an import that breaks one is found, wherever it hides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("client/askew_client", "server/askew_server", "training/askew_training")
INSIDE_A_FUNCTION = "\n\ndef _planted() -> None:\n    {}\n"
FOR_TYPES_ONLY = "\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {}\n"
PLANTED = {
    "The layers of askew_client": (
        "client/askew_client/encoding/photos.py", FOR_TYPES_ONLY, "from askew_client.transport import downloads"
    ),
    "No import circles": (
        "client/askew_client/contract/space.py", FOR_TYPES_ONLY, "from askew_client.contract import manifest"
    ),
    "askew_client knows neither the server nor the training": (
        "client/askew_client/metrics.py", INSIDE_A_FUNCTION, "import askew_training.evaluate"
    ),
    "The layers of askew_server": (
        "server/askew_server/gallery/ranking.py", FOR_TYPES_ONLY, "from askew_server.jobs import queue"
    ),
    "The layers of askew_server.http": (
        "server/askew_server/http/routing.py", INSIDE_A_FUNCTION, "from askew_server.http import state"
    ),
    "askew_server knows nothing of the training": (
        "server/askew_server/encoders/gate.py", INSIDE_A_FUNCTION, "import torch"
    ),
    "onnxruntime is imported in askew_client.encoding.runtime alone": (
        "training/askew_training/export/shrinking.py", INSIDE_A_FUNCTION, "import onnxruntime"
    ),
    "pymilvus is imported in askew_server.milvus alone": (
        "server/askew_server/gallery/backends.py", INSIDE_A_FUNCTION, "import pymilvus"
    ),
    "sqlite3 is imported in askew_server.storage alone": (
        "server/askew_server/maintenance/doctor.py", INSIDE_A_FUNCTION, "import sqlite3"
    ),
    "faiss is imported in askew_server.index alone": (
        "server/askew_server/gallery/index_manager.py", INSIDE_A_FUNCTION, "import faiss"
    ),
    "The web framework is imported in askew_server.http alone": (
        "server/askew_server/auth/access.py", FOR_TYPES_ONLY, "from starlette.requests import Request"
    ),
    "Only the command line and HTTP know the settings": (
        "server/askew_server/observability/logs.py", INSIDE_A_FUNCTION, "from askew_server.settings import Settings"
    ),
    "The layers of askew_training": (
        "training/askew_training/losses/base.py", FOR_TYPES_ONLY, "from askew_training.train import recipe"
    ),
    "askew_training knows nothing of the server": (
        "training/askew_training/cli/train.py", INSIDE_A_FUNCTION, "import askew_server.errors"
    ),
    "Photos, teacher vectors and evaluation need no torch": (
        "training/askew_training/data/photo_sets.py", INSIDE_A_FUNCTION, "import torch"
    ),
}  # fmt: skip


def contracts() -> list[str]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in document["tool"]["importlinter"]["contracts"]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the packages with one wrong import for each contract."""
    copy = tmp_path_factory.mktemp("planted")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "page"))
    (copy / "server/askew_server/http/page").mkdir()
    shutil.copy(ROOT / "pyproject.toml", copy)
    for file, form, statement in PLANTED.values():
        with (copy / file).open("a") as stream:
            stream.write(form.format(statement))
    paths = os.pathsep.join(str((copy / package).parent) for package in PACKAGES)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=copy, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_each_contract_has_a_wrong_import_to_find() -> None:
    assert sorted(PLANTED) == sorted(contracts())


@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_import_breaks_its_contract(report: str, name: str) -> None:
    file, _, statement = PLANTED[name]
    assert f"{name} BROKEN" in report
    details = report[report.index("Broken contracts") :]
    section = details[details.index(f"\n{name}\n") :]
    importer = file.partition("/")[2].removesuffix(".py").replace("/", ".")
    imported = statement.split()[1]
    # Of a library, the linter names the package alone.
    seen = imported if imported.startswith("askew_") else imported.partition(".")[0]
    if name == "No import circles":
        assert "No cycles are allowed in askew_client.contract" in section, section[:1000]
        return
    assert f"{importer} -> {seen}" in section, section[:1000]


def test_no_folder_of_the_packages_is_a_corridor() -> None:
    for package in PACKAGES:
        folders = [folder for folder in (ROOT / package).rglob("*") if folder.is_dir() and folder.name != "__pycache__"]
        for folder in [ROOT / package, *folders]:
            modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(modules) <= 20, f"{folder.relative_to(ROOT)} has {len(modules)} modules"
