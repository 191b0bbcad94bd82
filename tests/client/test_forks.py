"""A fork waits for blocks of other threads, and for none of its own; blocks do not wait for each other."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from PIL import Image

from askew_client.encoding.decoder import load_picture
from askew_client.forks import undivided
from tests.client.forking import in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system does not fork")


def test_a_fork_waits_for_a_block_of_another_thread_and_for_the_blocks_within() -> None:
    began, ended = threading.Event(), []

    def work() -> None:
        with undivided():
            began.set()
            time.sleep(0.2)
            # The fork waits already.
            with undivided():
                time.sleep(0.1)
            ended.append("outer")

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    assert in_child(lambda: str(ended))() == "['outer']"
    thread.join()


def test_a_fork_waits_for_a_heic_photo_that_is_decoded() -> None:
    """libde265 has a lock; a child that inherits it locked could decode no such photo."""
    began, ended = threading.Event(), []

    class Picture(Image.Image):
        format = "HEIF"

        def load(self) -> None:
            began.set()
            time.sleep(0.2)
            ended.append("decoded")

    thread = threading.Thread(target=load_picture, args=(Picture(),))
    thread.start()
    began.wait()
    assert in_child(lambda: str(ended))() == "['decoded']"
    thread.join()


def test_child_and_parent_have_blocks_afterwards() -> None:
    def enter() -> str:
        with undivided():
            return in_child(lambda: "grandchild")()

    assert [in_child(enter)(), in_child(enter)(), enter()] == ["grandchild"] * 3


def test_blocks_of_two_threads_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet() -> None:
        with undivided():
            both.wait()

    threads = [threading.Thread(target=meet) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_a_handler_of_signals_may_fork_in_the_middle_of_a_block() -> None:
    outcomes = []

    def fork(*_: object) -> None:
        outcomes.append(in_child(lambda: "child")())

    before = signal.signal(signal.SIGUSR1, fork)
    try:
        with undivided():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert outcomes == ["child"]


def test_forks_and_blocks_of_many_threads_end() -> None:
    stop = threading.Event()
    found: list[str] = []

    def enter() -> None:
        while not stop.is_set():
            with undivided(), undivided():
                pass

    def fork() -> None:
        found.extend(in_child(lambda: "child")() for _ in range(20))

    def child() -> str:
        with undivided():
            return "child"

    workers = [threading.Thread(target=enter) for _ in range(3)]
    forkers = [threading.Thread(target=fork) for _ in range(2)]
    for thread in (*workers, *forkers):
        thread.start()
    found.extend(in_child(child)() for _ in range(20))
    for thread in forkers:
        thread.join()
    stop.set()
    for thread in workers:
        thread.join()
    assert found == ["child"] * 60
