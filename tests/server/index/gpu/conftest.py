"""A main segment of 1,200 vectors, and a keeper that searches it in a real process, with an engine that can fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from askew_server.index.build import build_main
from askew_server.index.gpu.keeper import GpuKeeper
from askew_server.index.gpu.options import GpuOptions
from askew_server.index.main_segment import MainSegment
from askew_server.index.on_disk import open_main
from askew_server.index.search_thread import SearchThread
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import GpuState, Neighbours, Vectors
from tests.support import faulty_gpu
from tests.support.gallery_vectors import Given, clustered
from tests.support.paths import ROOT
from tests.support.waiting import wait_until

DIM = 32
COUNT = 1_200
VECTORS = clustered(COUNT, DIM, seed=1)
QUERIES = clustered(20, DIM, seed=2)
OPTIONS = GpuOptions(
    devices=("cpu",), engine="tests.support.faulty_gpu", answer_seconds=1.0, retry_seconds=0.05, check_seconds=0.5
)


@dataclass
class Kept:
    """An index on its search thread, and the keeper of its GPU process."""

    keeper: GpuKeeper
    searches: SearchThread
    main: MainSegment
    folder: Path

    @property
    def state(self) -> GpuState:
        state = self.keeper.state
        assert state is not None
        return state

    def search(self, vectors: Vectors = QUERIES, wanted: int = 10) -> Neighbours:
        """Search, and check that the answer is right whichever index gave it."""
        found = self.searches.search_blocking(vectors, wanted)
        truth = np.argsort(-(vectors @ VECTORS.T), axis=1)[:, :wanted] + 1
        share = np.mean([np.isin(true, row).mean() for true, row in zip(truth, found.labels, strict=True)])
        assert share >= (1.0 if found.exact else 0.97), f"{found.index} finds {share}"
        return found

    def be_ready(self, *, lost: int = 0) -> int:
        """Wait until the GPU answers; the number of its process."""
        wait_until(lambda: self.state.state == "ready" and self.state.lost >= lost, "the GPU's process")
        assert self.state.process is not None
        return self.state.process

    def be_unavailable(self) -> str:
        """Wait until the CPU answers for a reason; the reason."""
        wait_until(lambda: self.state.state == "unavailable", "the reason why the GPU is not used")
        assert self.state.reason is not None
        return self.state.reason

    def recover(self) -> None:
        """Let the engine work from now on."""
        (self.folder / "faulty").unlink()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_main(Given(VECTORS), folder, "two-stage", lambda progress: None)
    return folder


@pytest.fixture
def keep(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Kept]]:
    """Start a keeper; `fault`: of the engine, see tests/support/faulty_gpu.py."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv(faulty_gpu.FOLDER, str(tmp_path))
    kept: list[Kept] = []

    def start(fault: str = "", options: GpuOptions = OPTIONS) -> Kept:
        monkeypatch.setenv(faulty_gpu.FAULT, fault)
        if fault:
            (tmp_path / "faulty").touch()
        main = open_main(built, DIM).main
        assert main is not None
        searches = SearchThread(SegmentedIndex(DIM, main, "gpu-exact"), "objects")
        kept.append(Kept(GpuKeeper("objects", Given(VECTORS), options, searches), searches, main, tmp_path))
        kept[-1].keeper.follow(main)
        return kept[-1]

    yield start
    for each in kept:
        each.keeper.stop()
        each.searches.close()
        each.keeper.close()


__all__ = ["OPTIONS", "Kept", "replace"]
