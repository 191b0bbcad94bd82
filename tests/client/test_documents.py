"""docs/client.md: its Python runs from top to bottom against a real server, and it names every method and error."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from askew_client import Client, Encoder
from askew_client.contract import errors
from tests.support.paths import ROOT
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

DOCUMENT = ROOT / "docs" / "client.md"


@pytest.fixture
def museum(
    teacher_file: Path, student_file: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    """A server with the gallery `museum` and an admitted student. The document's files are in the working directory."""
    for name, file in {"teacher": teacher_file, "student": student_file}.items():
        shutil.copy(file, tmp_path / f"{name}.onnx")
    make_encoder(tmp_path / "new-teacher.onnx", role="teacher", seed=7, name="new-teacher")
    shutil.copy(photos[0], tmp_path / "photo.jpg")
    shutil.copy(photos[1], tmp_path / "other.jpg")
    monkeypatch.chdir(tmp_path)
    teacher = Encoder(teacher_file)
    with RunningServer(tmp_path / "data", "--gallery", "museum") as server:
        with Client(server.url, timeout=60) as client:
            client.create_gallery("museum", teacher_file)
            for photo, vector in zip(photos, teacher.encode(photos), strict=True):
                payload: dict[str, JsonValue] = {"kind": "object"}
                client.upsert_photo(
                    photo.stem, photo, gallery="museum", payload=payload, vector=vector, space=teacher.space_id
                )
            client.admit("student.onnx", gallery="museum")
        yield server


@pytest.mark.slow
def test_the_python_of_the_document_runs(museum: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) >= 9
    source = "\n".join(blocks).replace("http://127.0.0.1:8000", museum.url)
    names: dict[str, object] = {}
    try:
        exec(compile(source, str(DOCUMENT), "exec"), names)
    finally:
        opened = names.get("client")
        assert isinstance(opened, Client)
        opened.close()
    printed = capsys.readouterr().out
    assert "'described': 2" in printed
    assert "ask_" in printed


def test_every_method_and_error_is_named() -> None:
    text = DOCUMENT.read_text()
    methods = [name for name in dir(Client) if not name.startswith("_") and name != "close"]
    assert [name for name in methods if not re.search(rf"\b{name}\(", text)] == []
    named = {"ServerUnreachable", "JobFailed", "JobUnfinished", "DamagedSnapshot", "ClientMisused", "WireError"}
    named |= {kind.__name__ for kind in errors.ProblemError.__subclasses__()} | {"RateLimited"}
    assert [name for name in sorted(named) if f"`{name}`" not in text] == []
