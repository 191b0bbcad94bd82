"""Clocks that jump while a server runs: nothing stops, nothing is lost, no order depends on the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.running_server import RunningServer, run_askew

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
GALLERY = "/v1/galleries/default"


def _unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


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
    beside = setting.with_suffix(".next")
    beside.write_text(moment)
    beside.replace(setting)


def test_everything_goes_on_when_the_clock_jumps_by_ten_years(
    clock: Callable[[str], None], tmp_path: Path, teacher_file: Path
) -> None:
    space = Encoder(teacher_file).space_id
    moments = ["+0", "+3650d", "-3650d", "+1d", "-20d"]
    with RunningServer(tmp_path / "data") as server:
        http = server.http
        assert http.put(GALLERY, content=teacher_file.read_bytes()).status_code == 201
        jobs, snapshots = [], []
        for number, moment in enumerate(moments):
            clock(moment)
            item = {"id": f"item-{number}", "vector": pack_base64(_unit(number)), "dtype": "f16le"}
            assert http.put(f"{GALLERY}/items", json={"space": space, "items": [item]}).status_code == 200
            for earlier in range(number + 1):
                query = {"vector": pack_base64(_unit(earlier)), "dtype": "f16le", "space": space, "limit": 1}
                assert http.post("/search", json=query).json()["hits"][0]["id"] == f"item-{earlier}"
            accepted = http.post(f"{GALLERY}/snapshots")
            assert accepted.status_code == 202, accepted.text
            jobs.append(accepted.json()["id"])
            job = _ended(server, accepted.headers["location"])
            assert job["state"] == "done", job
            snapshots.append(job["result"]["name"])  # type: ignore[index]
        years = {name[:4] for name in snapshots}
        assert len(years) >= 3, "the clock was not faked, so nothing was shown"
        # The newest first is by order of arrival, not by what the clock said then.
        assert [job["id"] for job in http.get("/v1/jobs").json()["jobs"]] == jobs[::-1]
        assert {each["name"] for each in http.get(f"{GALLERY}/snapshots").json()["snapshots"]} == set(snapshots)
        server.kill()
    clock("-7000d")
    with RunningServer(tmp_path / "data") as server:
        assert server.http.get(GALLERY).json()["items"] == len(moments)
        for number in range(len(moments)):
            query = {"vector": pack_base64(_unit(number)), "dtype": "f16le", "space": space, "limit": 1}
            assert server.http.post("/search", json=query).json()["hits"][0]["id"] == f"item-{number}"


def test_the_rate_of_a_key_survives_a_jump_and_its_end_is_by_the_clock(
    clock: Callable[[str], None], tmp_path: Path, teacher_file: Path
) -> None:
    data = tmp_path / "data"
    with RunningServer(data) as server:
        assert server.http.put(GALLERY, content=teacher_file.read_bytes()).status_code == 201
    made = run_askew(
        "key", "create", "a", "--scope", "search", "--requests-per-second", "50", "--expires", "2200-01-01", "--data", data
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with RunningServer(data) as server:
        for moment in ("+0", "-3650d", "+3650d", "-3650d"):
            clock(moment)
            time.sleep(0.1)
            assert server.http.get(GALLERY, headers=bearer).status_code == 200, moment
        # 180 years on, the key has ended.
        clock("+70000d")
        assert server.http.get(GALLERY, headers=bearer).status_code == 401
        clock("+0")
        assert server.http.get(GALLERY, headers=bearer).status_code == 200


def _ended(server: RunningServer, location: str) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job: dict[str, object] = server.http.get(location).json()
        if job["state"] not in {"waiting", "running"}:
            return job
        time.sleep(0.05)
    raise AssertionError("the job did not end")
