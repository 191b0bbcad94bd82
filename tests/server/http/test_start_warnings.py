"""A mistyped folder or gallery: the server starts, and says so in its log and to whoever asks whether it is ready."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from askew_server.http.start_warnings import is_empty
from tests.support.running_server import RunningServer, run_askew

EMPTY, DEFAULT = "The DATA folder was empty", "The default gallery does not exist"


def warnings_of(server: RunningServer) -> list[str]:
    answer = server.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    found: list[str] = answer.json()["warnings"]
    return found


def logged(output: str) -> list[str]:
    lines = [json.loads(line) for line in output.splitlines()]
    return [line["message"] for line in lines if (line["logger"], line["level"]) == ("askew.server", "warning")]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_new_folder_is_reported_until_there_is_a_gallery(tmp_path: Path, teacher_file: Path, is_there: bool) -> None:
    data = tmp_path / "typo"
    if is_there:
        (data / "lost+found").mkdir(parents=True)
    with RunningServer(data) as server:
        empty, default = warnings_of(server)
        assert empty.startswith(EMPTY) and default.startswith(DEFAULT)
        # Another gallery than the default one.
        teacher = teacher_file.read_bytes()
        assert server.http.put("/v1/galleries/birds", content=teacher).status_code == 201
        (default,) = warnings_of(server)
        assert default.startswith(DEFAULT)
        assert server.http.put("/v1/aliases/default", json={"gallery": "birds"}).status_code in {200, 201}
        assert warnings_of(server) == []
        assert server.http.delete("/v1/aliases/default").status_code == 200
        assert server.http.put("/v1/galleries/default", content=teacher).status_code == 201
        assert warnings_of(server) == []
        output = server.stop()
    empty, default = logged(output)
    assert f"{data} was empty" in empty and "--data (ASKEW_DATA)" in empty
    assert "'default' does not exist" in default and "--gallery (ASKEW_DEFAULT_GALLERY)" in default
    # It is not new any more.
    with RunningServer(data) as again:
        assert warnings_of(again) == []
        assert logged(again.stop()) == []


def test_a_mistyped_default_gallery_is_reported_without_naming_one_to_strangers(data: Path) -> None:
    assert run_askew("key", "create", "me", "--scope", "admin", "--data", data).returncode == 0
    with RunningServer(data, "--gallery", "secret-objets") as server:
        (warning,) = warnings_of(server)
        assert warning.startswith(DEFAULT)
        text = server.http.get("/readyz").text
        assert "objects" not in text and "objets" not in text and str(data) not in text
        (line,) = logged(server.stop())
    assert "'secret-objets' does not exist" in line and "There are: objects." in line


@pytest.mark.slow
def test_a_damaged_default_gallery_is_not_called_missing(data: Path) -> None:
    (data / "galleries/objects/gallery.db").write_bytes(b"no database" * 1000)
    with RunningServer(data, "--gallery", "objects") as server:
        assert warnings_of(server) == []
        assert server.http.get("/readyz").json()["quarantined"] == 1


def test_a_folder_is_empty_or_not(tmp_path: Path) -> None:
    assert is_empty(tmp_path / "none")
    assert is_empty(tmp_path)
    (tmp_path / "lost+found").mkdir()
    assert is_empty(tmp_path)
    (tmp_path / "askew.db").touch()
    assert not is_empty(tmp_path)
    # Opening it says what it is.
    assert not is_empty(tmp_path / "askew.db")
