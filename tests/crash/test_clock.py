"""Clocks that jump while a server runs: nothing stops, nothing is lost, no order depends on the time of day."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.keys import CreateKeyRequest, Scope
from askew_client.contract.wire import pack_base64
from askew_server.auth.keys import KeyStore
from tests.support.gallery_files import item_json, unit_vector, write_gallery
from tests.support.job_waiting import wait_for_accepted
from tests.support.running_server import RunningServer

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
GALLERY = "/v1/galleries/default"


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the time of day of servers that are started from now on, and of those that run already."""
    if not LIBRARIES:
        pytest.skip("the clock is faked by libfaketime (Debian: faketime), which is not installed")
    setting = tmp_path / "clock"
    setting.write_text("+0")
    fake = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        # A jump of the time of day; the monotonic clock never jumps.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    for name, value in fake.items():
        monkeypatch.setenv(name, value)
    return lambda moment: _set(setting, moment)


def _set(setting: Path, moment: str) -> None:
    part = setting.with_suffix(".next")
    part.write_text(moment)
    part.replace(setting)


def test_a_server_continues_when_the_clock_jumps_by_ten_years(
    clock: Callable[[str], None], tmp_path: Path, teacher_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes, searches, snapshots, jobs and keys; and everything is there after kill -9 and another jump."""
    data = tmp_path / "data"
    write_gallery(data, "default", teacher_file)
    owner = _made_key(data, "owner", "admin")
    limited = _made_key(data, "limited", "search", requests_per_second=50, expires_at="2200-01-01T00:00:00Z")
    space = read_encoder_file(teacher_file).manifest.space_id
    moments = ["+0", "+3650d", "-3650d", "+1d", "-20d"]
    with RunningServer(data) as server:
        http = server.http
        http.headers["Authorization"] = f"Bearer {owner}"

        def status_of_limited() -> int:
            return http.get(GALLERY, headers={"Authorization": f"Bearer {limited}"}).status_code

        jobs, snapshots = [], []
        for number, moment in enumerate(moments):
            clock(moment)
            items = [item_json(f"item-{number}", number)]
            assert http.put(f"{GALLERY}/items", json={"space": space, "items": items}).status_code == 200
            _check_found(http, space, number + 1)
            # The bound on the key's requests is not hit by a clock that goes back.
            assert status_of_limited() == 200, moment
            job = wait_for_accepted(http, http.post(f"{GALLERY}/snapshots"))
            assert job["state"] == "done", job
            jobs.append(job["id"])
            snapshots.append(job["result"]["name"])
        years = {name[:4] for name in snapshots}
        assert len(years) >= 3, "the clock was not faked, so nothing was shown"
        # Newest first is by order of arrival, not by the clock.
        assert [job["id"] for job in http.get("/v1/jobs").json()["jobs"]] == jobs[::-1]
        assert {each["name"] for each in http.get(f"{GALLERY}/snapshots").json()["snapshots"]} == set(snapshots)
        # The key expires by the clock: 190 years later it has.
        clock("+70000d")
        assert status_of_limited() == 401
        clock("+3650d")
        assert status_of_limited() == 200
        server.kill()
    # A server with the real clock, which is ten years behind.
    monkeypatch.delenv("LD_PRELOAD")
    with RunningServer(data) as server:
        server.http.headers["Authorization"] = f"Bearer {owner}"
        assert server.http.get(GALLERY).json()["items"] == len(moments)
        _check_found(server.http, space, len(moments))


def _made_key(data: Path, name: str, scope: Scope, **limits: Any) -> str:
    with closing(KeyStore(data)) as keys:
        return keys.create(CreateKeyRequest(name=name, scopes=[scope], **limits)).key


def _check_found(http: httpx.Client, space: str, count: int) -> None:
    for number in range(count):
        query = {"vector": pack_base64(unit_vector(number)), "dtype": "f16le", "space": space, "limit": 1}
        assert http.post("/search", json=query).json()["hits"][0]["id"] == f"item-{number}"
