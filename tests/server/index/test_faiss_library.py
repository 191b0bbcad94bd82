"""A server without its engine, or with two of them, says which extra to install."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from askew_client.errors import EngineMissing
from askew_server.index.faiss_library import import_faiss

WITHOUT_FAISS = """
import sys
from pathlib import Path
sys.modules["faiss"] = None
from askew_client.errors import AskewError
from askew_server.gallery.catalog import Catalog
try:
    Catalog(Path(sys.argv[1]), owner="a test").load()
except AskewError as error:
    print(error)
"""


def test_no_faiss(data: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_FAISS, str(data)], capture_output=True, text=True, check=True)
    assert "No faiss is installed" in done.stdout
    assert "askew-server[cpu]" in done.stdout


def test_two_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name.startswith("faiss") else known(name))
    with pytest.raises(EngineMissing, match="both installed"):
        import_faiss()
