"""A real server whose askew.db, or its log, is lost after kill -9: it serves nobody without a key, whatever is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.running_server import RunningServer, run_askew


def _remove_all(data: Path) -> None:
    for path in data.glob("askew.db*"):
        path.unlink()


LOST: dict[str, Callable[[Path], object]] = {
    "askew.db-wal": lambda data: (data / "askew.db-wal").unlink(missing_ok=True),
    "askew.db": lambda data: (data / "askew.db").unlink(),
    "askew.db*": _remove_all,
    "askew.db, emptied": lambda data: (data / "askew.db").write_bytes(b""),
}


@pytest.mark.slow
@pytest.mark.parametrize("lost", LOST)
def test_a_killed_server_that_loses_its_keys_is_not_open(tmp_path: Path, lost: str) -> None:
    data = tmp_path / "data"
    with RunningServer(data) as server:
        created = server.http.post("/v1/keys", json={"name": "me", "scopes": ["admin"]})
        assert created.status_code in {200, 201}, created.text
        assert server.http.get("/v1/galleries").status_code == 401
        server.kill()
    LOST[lost](data)
    if lost == "askew.db-wal":
        # The key is in the file itself, and so it works.
        _lets_in_only(data, created.json()["key"])
        return
    with pytest.raises(AssertionError, match=r"askew\.db cannot be used.*--accept-loss"):
        RunningServer(data)
    assert run_askew("doctor", "--data", data).returncode == 1
    refused = run_askew("key", "create", "again", "--scope", "admin", "--data", data)
    assert refused.returncode != 0
    assert "--accept-loss" in refused.stderr
    accepted = run_askew("doctor", "--data", data, "--accept-loss")
    assert "repaired" in accepted.stdout, accepted.stdout + accepted.stderr
    with RunningServer(data) as closed:
        assert closed.http.get("/v1/galleries").status_code == 401
        assert "had keys, but its askew.db has none" in closed.stop()
    again = run_askew("key", "create", "again", "--scope", "admin", "--data", data)
    assert again.returncode == 0, again.stderr
    _lets_in_only(data, again.stdout.strip())
    assert run_askew("doctor", "--data", data).returncode == 0


def _lets_in_only(data: Path, key: str) -> None:
    with RunningServer(data) as server:
        assert server.http.get("/v1/galleries").status_code == 401
        assert server.http.get("/v1/galleries", headers={"api-key": key}).status_code == 200
