"""FAISS is imported late, and a server without it, or with two builds of it, says which extra to install."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from askew_client.errors import EngineMissing
from askew_server.index.faiss_library import require_faiss

WITHOUT_FAISS = """
import importlib, pkgutil, sys
from pathlib import Path

# From now on `import faiss` raises ImportError.
sys.modules["faiss"] = None
import askew_server
for module in pkgutil.walk_packages(askew_server.__path__, "askew_server."):
    importlib.import_module(module.name)

from askew_client.errors import AskewError
from askew_server.gallery.catalog import Catalog
try:
    Catalog(Path(sys.argv[1]), owner="a test").load()
except AskewError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_faiss_every_module_is_importable_and_a_sentence_names_the_extra(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_FAISS, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "FAISS, which searches galleries, is not installed" in done.stdout
    assert "pip install faiss-cpu" in done.stdout


def test_two_builds_of_faiss_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name.startswith("faiss") else known(name))
    with pytest.raises(EngineMissing, match="both installed"):
        require_faiss()
