"""A GPU's process that crashes, aborts, hangs, lies or is full: the answers stay right, and the reason is told."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from askew_server.index.gpu.exchange import Answer
from askew_server.index.gpu.options import GpuLayout
from askew_server.index.gpu.process import GpuLost, GpuProcess, Proof
from askew_server.index.gpu.proving import try_gpu
from askew_server.index.on_disk import open_main
from askew_server.index.types import Neighbours
from tests.server.index.gpu.conftest import COUNT, DIM, OPTIONS, QUERIES, VECTORS, Kept
from tests.support.gallery_vectors import Given
from tests.support.waiting import DEADLINE, in_thread, wait_until

pytestmark = pytest.mark.slow

Keep = Callable[..., Kept]
AT_ONCE = 5.0
"""Seconds within which the CPU answers in place of a GPU that is lost: one is promised, and this machine may be busy."""


def timed(search: Callable[[], Neighbours]) -> tuple[Neighbours, float]:
    began = time.monotonic()
    return search(), time.monotonic() - began


def test_the_gpu_answers_exactly_once_it_is_proved_and_the_cpu_before(keep: Keep) -> None:
    kept = keep()
    assert kept.search().index in {"two-stage", "gpu-exact"}
    kept.be_ready()
    found = kept.search()
    assert (found.index, found.exact) == ("gpu-exact", True)
    assert (kept.state.vectors, kept.state.lost) == (COUNT, 0)
    assert "FAISS" in (kept.state.engine or "")
    # More than one message holds, and more than the kernels select.
    assert kept.search(QUERIES.repeat(60, axis=0)).index == "gpu-exact"
    assert kept.search(wanted=COUNT).index == "gpu-exact"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT], ids=lambda how: how.name)
def test_a_process_that_dies_in_the_middle_costs_no_answer_and_is_started_again(
    keep: Keep, how: signal.Signals
) -> None:
    kept = keep()
    process = kept.be_ready()
    stopped = threading.Event()

    def search() -> set[str]:
        kinds = set()
        while not stopped.is_set():
            found, seconds = timed(kept.search)
            kinds.add(found.index)
            assert seconds < AT_ONCE
        return kinds

    searching = [in_thread(search) for _ in range(2)]
    os.kill(process, how)
    wait_until(lambda: kept.state.lost == 1, "the loss")
    assert kept.be_ready(lost=1) != process
    assert kept.search().index == "gpu-exact"
    stopped.set()
    assert all(each.result(DEADLINE) <= {"gpu-exact", "two-stage"} for each in searching)


def test_the_search_that_waits_when_the_process_dies_is_asked_once_more(keep: Keep) -> None:
    kept = keep(options=replace(OPTIONS, answer_seconds=DEADLINE))
    process = kept.be_ready()
    os.kill(process, signal.SIGSTOP)
    waiting = in_thread(kept.search)
    wait_until(lambda: psutil.Process(process).status() == psutil.STATUS_STOPPED, "the stop")
    assert not waiting.done()
    os.kill(process, signal.SIGKILL)
    assert waiting.result(DEADLINE).index == "two-stage"


def test_a_search_waits_for_a_hanging_gpu_once_and_its_late_answer_is_nobodys(keep: Keep) -> None:
    kept = keep(options=replace(OPTIONS, answer_seconds=0.3, check_seconds=DEADLINE))
    process = kept.be_ready()
    os.kill(process, signal.SIGSTOP)
    found, seconds = timed(kept.search)
    assert (found.index, found.exact) == ("two-stage", False)
    assert 0.3 <= seconds < AT_ONCE
    # The next search does not wait.
    assert kept.search(QUERIES[5:9]).index == "two-stage"
    os.kill(process, signal.SIGCONT)
    wait_until(lambda: kept.search(QUERIES[3:8]).index == "gpu-exact", "the GPU's next answer")


def test_a_gpu_that_hangs_for_good_is_ended_and_started_again(keep: Keep) -> None:
    kept = keep(options=replace(OPTIONS, answer_seconds=0.3))
    process = kept.be_ready()
    os.kill(process, signal.SIGSTOP)
    assert kept.search().index == "two-stage"
    assert kept.be_ready(lost=1) != process
    assert not psutil.pid_exists(process)
    wait_until(lambda: kept.search().index == "gpu-exact", "the GPU's next answer")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("abort", "The GPU's process ended by SIGABRT. It said: Faiss assertion .* no kernel image is available"),
        ("full", "says: Error in StandardGpuResourcesImpl: CUDA error 2 out of memory"),
        ("misses", r"The GPU misses \d+\.\d % of the vectors .* stays on the CPU"),
        ("other scores", r"The GPU scores a vector by 0\.\d+ otherwise .* stays on the CPU"),
        ("no numbers", "The GPU gives scores that are not numbers. The gallery stays on the CPU"),
        ("impossible rows", r"The GPU could not search: index 1000000000\d+ is out of bounds"),
        ("search fails", "The GPU could not search: CUDA error 700 an illegal memory access"),
    ],
)
def test_a_gpu_that_cannot_be_proved_is_not_used_and_is_tried_again(keep: Keep, fault: str, told: str) -> None:
    kept = keep(fault)
    assert re.search(told, reason := kept.be_unavailable()), reason
    assert kept.search().index == "two-stage"
    assert kept.state.lost == 0
    kept.recover()
    kept.be_ready()
    assert kept.search().index == "gpu-exact"


@pytest.mark.parametrize(
    ("fault", "is_asked"), [("other rows", False), ("search fails", True), ("one row", True), ("slow", True)]
)
def test_a_gpu_that_goes_wrong_later_is_found_out(keep: Keep, fault: str, is_asked: bool) -> None:
    options = replace(
        OPTIONS, check_seconds=DEADLINE if is_asked else 0.5, answer_seconds=0.1 if fault == "slow" else 5.0
    )
    kept = keep(fault, options)
    kept.recover()
    process = kept.be_ready()
    (kept.folder / "faulty").touch()
    if is_asked:
        # Right, whatever the GPU says.
        wait_until(lambda: kept.search().index == "two-stage" and kept.state.process != process, "the loss")
    else:
        wait_until(lambda: kept.state.process != process, "the loss")
    kept.recover()
    kept.be_ready(lost=1)
    assert kept.search().index == "gpu-exact"


def test_an_environment_that_does_not_exist_or_has_no_askew_is_told(keep: Keep, tmp_path: Path) -> None:
    missing = tmp_path / "python"
    assert "could not be started" in keep(options=replace(OPTIONS, python=missing)).be_unavailable()
    missing.write_text("#!/bin/sh\necho no module named askew_server >&2\nexit 3\n")
    missing.chmod(0o755)
    reason = keep(options=replace(OPTIONS, python=missing)).be_unavailable()
    assert "ended with exit code 3. It said: no module named askew_server" in reason


def test_more_gpus_than_there_are_is_told(keep: Keep) -> None:
    options = replace(OPTIONS, devices=("cpu",) * 65)
    assert "finds 64 of the 65 GPUs" in keep(options=options).be_unavailable()


@pytest.mark.parametrize("layout", ["shard", "replica"])
def test_several_gpus_answer_as_one(keep: Keep, layout: GpuLayout) -> None:
    kept = keep(options=replace(OPTIONS, devices=("cpu", "cpu", "cpu"), layout=layout))
    kept.be_ready()
    assert kept.search().index == "gpu-exact"
    assert kept.search(QUERIES[:1]).index == "gpu-exact"


def test_closing_does_not_wait_for_a_process_that_loads_or_hangs(keep: Keep) -> None:
    before = _children()
    kept = keep("hang")
    wait_until(lambda: bool(_children() - before), "the process")
    began = time.monotonic()
    kept.keeper.stop()
    kept.searches.close()
    kept.keeper.close()
    assert time.monotonic() - began < AT_ONCE


def test_a_gallery_that_should_not_be_on_the_gpu_any_more_lets_go_of_it(keep: Keep) -> None:
    kept = keep()
    process = kept.be_ready()
    kept.keeper.follow(None)
    wait_until(lambda: not psutil.pid_exists(process), "the end of the process")
    assert kept.keeper.state is None
    assert kept.search().index == "two-stage"


@pytest.mark.parametrize("said", [b"\xff", b"[]", b'{"askew": "0"}', b'{"failure": 3}', b"[" * 4_000])
def test_a_process_that_greets_with_something_else_is_told_as_such(keep: Keep, tmp_path: Path, said: bytes) -> None:
    """Also to `askew doctor`, which waits for the greeting alone."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport socket, sys\nsocket.socket(fileno=int(sys.argv[5])).send({said!r})\n"
    )
    python.chmod(0o755)
    options = replace(OPTIONS, python=python)
    assert "greets with something else" in keep(options=options).be_unavailable()
    with pytest.raises(GpuLost, match="greets with something else"):
        try_gpu(DIM, options)


def test_vectors_that_were_not_asked_for_are_not_searched(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row after an unknown one would be answered as its neighbour."""
    load = GpuProcess.load

    def other_labels(process: GpuProcess) -> Proof:
        proof = load(process)
        labels = proof.labels.copy()
        labels[5] = labels[6] - 1 + COUNT * 10
        return proof._replace(labels=labels)

    monkeypatch.setattr(GpuProcess, "load", other_labels)
    assert "holds vectors that it was not asked to hold" in keep().be_unavailable()


def test_a_process_that_only_talks_does_not_keep_the_search_thread() -> None:
    process = GpuProcess(Given(VECTORS), np.arange(1, COUNT + 1), OPTIONS)
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process._connection.close()
        with ours, theirs:
            process._connection, process._poll, process._owed = ours, select.poll(), {7: 0}
            process._poll.register(ours, select.POLLIN)
            process._owed_since = time.monotonic()
            stopped = threading.Event()

            def talk() -> None:
                with contextlib.suppress(OSError):
                    while not stopped.is_set():
                        theirs.send(Answer(True, 3, 0.0).packed())

            talking = in_thread(talk)
            lost = in_thread(lambda: process.lost)
            assert "what it was not asked" in (lost.result(timeout=20) or "")
            stopped.set()
            ours.close()
            talking.result(timeout=20)
    finally:
        process.close()


def test_a_process_that_was_prepared_in_vain_is_ended(keep: Keep, built: Path) -> None:
    """Another kind of index was chosen while the next one was built."""
    before = _children()
    kept = keep()
    kept.be_ready()
    following = open_main(built, DIM).main
    assert following is not None
    kept.keeper.prepare(following)
    assert following.faster is not None
    children = _children() - before
    assert len(children) == 2
    kept.keeper.follow(None)
    wait_until(lambda: not any(child.is_running() for child in children), "the end of both processes")
    assert following.faster is None


def _children() -> set[psutil.Process]:
    """The processes that this one has begun; servers of other test files may be among them."""
    return set(psutil.Process().children())
