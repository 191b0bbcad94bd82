from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project to copy; see `project.py`."""
    from tests.training.train.project import make_project

    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


@pytest.fixture
def folder(project: Path, tmp_path: Path) -> Path:
    """A project of the test's own."""
    shutil.copytree(project, tmp_path / "project")
    return tmp_path / "project"
