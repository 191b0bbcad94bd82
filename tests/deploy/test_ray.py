"""The Ray recipe on this machine with two workers, of which one is killed: every shard is complete, and none is described twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as parquet
import pytest

from tests.support.in_process_cli import call_askew
from tests.support.paths import DEMO, ROOT
from tests.support.waiting import wait_until

PYTHON = ROOT / ".venv-ray" / "bin" / "python"
SHARDS = 4


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie in it, whose paths may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _workers(driver: psutil.Process) -> list[psutil.Process]:
    """The processes that work on a task now."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::describe"]:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.drill
@pytest.mark.timeout(1_800)
def test_a_killed_worker_costs_its_own_shard_at_most(tmp_path: Path, short_folder: Path) -> None:
    subprocess.run(["make", "-C", ROOT, ".venv-ray/.installed"], check=True, timeout=1_200)
    out = tmp_path / "out"
    command: list[str | Path] = [
        *(PYTHON, ROOT / "deploy" / "ray_index.py", DEMO / "gallery", "--encoder", DEMO / "encoders" / "teacher.onnx"),
        *("--shards", str(SHARDS), "--out", out, "--cores", "1"),
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder), "OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        watched = psutil.Process(driver.pid)
        wait_until(lambda: bool(list(out.glob("*.parts"))), "the first shard in progress")
        victim = _workers(watched)[0]
        complete = {path.name: path.stat().st_ino for path in out.glob("*.parquet")}
        began = time.monotonic()
        victim.kill()
        printed, _ = driver.communicate(timeout=900)
    finally:
        for process in psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []:
            process.kill()
        driver.kill()
        driver.wait(60)
    assert driver.returncode == 0, printed
    print(f"from the kill to the end: {time.monotonic() - began:.0f} s\n{printed}")
    assert sorted(line.partition(":")[0] for line in printed.splitlines() if line.startswith("shard ")) == [
        f"shard {number}/{SHARDS}" for number in range(1, SHARDS + 1)
    ]
    files = sorted(out.glob("*.parquet"))
    assert complete.items() <= {path.name: path.stat().st_ino for path in files}.items()
    assert sum(parquet.read_metadata(path).num_rows for path in files) == len(list((DEMO / "gallery").iterdir()))
    assert not list(out.glob("*.parts"))
    done = call_askew("items", "import", *files, "--data", tmp_path / "data", "--expect-shards", str(SHARDS))
    assert done.returncode == 0, done.stderr
