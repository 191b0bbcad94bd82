"""Worker counts follow what a container, a service or `taskset` grants, and not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from askew_client import cores
from askew_client.cores import usable_cores
from tests.support.paths import ROOT

V2 = "0::/{}\n"
V1 = "4:cpu,cpuacct:/{}\n2:memory:/elsewhere\n0::/\n"


@pytest.fixture(autouse=True)
def _a_machine_of_16_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        pytest.param(V2.format(""), {}, 16, id="no groups"),
        pytest.param(V2.format(""), {"cpu.max": "max 100000"}, 16, id="no quota"),
        pytest.param(V2.format(""), {"cpu.max": "200000 100000"}, 2, id="v2, a container's own root"),
        pytest.param(V2.format("a/b"), {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3, id="v2, above"),
        pytest.param(V2.format("a/b"), {"a/b/cpu.max": "100000 100000", "a/cpu.max": "300000 100000"}, 1, id="v2, own"),
        pytest.param(V2.format(""), {"cpu.max": "20000 100000"}, 1, id="a fifth of a core"),
        pytest.param(V2.format(""), {"cpu.max": "250000 100000"}, 2, id="two and a half"),
        pytest.param(V2.format(""), {"cpu.max": "6400000 100000"}, 16, id="more than there are"),
        pytest.param(V2.format("../../other"), {"cpu.max": "200000 100000"}, 2, id="a group out of sight"),
        pytest.param(V2.format(""), {"cpu.max": "nonsense"}, 16, id="unreadable"),
        pytest.param(
            V1.format("pod"), {"cpu,cpuacct/pod/cpu.cfs_quota_us": "400000", "cpu,cpuacct/pod/cpu.cfs_period_us": "100000"},
            4, id="v1",
        ),
        pytest.param(
            V1.format("hidden"), {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "50000"}, 3, id="v1, own root"
        ),
        pytest.param(V1.format(""), {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16, id="v1, none"),
        pytest.param("", {"cpu.max": "200000 100000"}, 2, id="no membership"),
    ],
)  # fmt: skip
def test_the_quota_of_every_group_counts(tmp_path: Path, membership: str, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (tmp_path / "membership").write_text(membership)
    assert usable_cores(tmp_path / "groups", tmp_path / "membership") == expected


def test_affinity_counts_and_systems_without_it_have_their_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(tmp_path, tmp_path / "none") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores(tmp_path, tmp_path / "none") == 7


def test_no_package_counts_the_machines_cores() -> None:
    """Whoever starts workers asks `usable_cores`."""
    sources = [
        file for package in ("client/askew_client", "server", "training") for file in (ROOT / package).rglob("*.py")
    ]
    allowed = {Path(cores.__file__), ROOT / "client" / "askew_client" / "encoding" / "encoder.py"}
    counting = [file for file in sources if file not in allowed and "cpu_count" in file.read_text()]
    assert counting == []
