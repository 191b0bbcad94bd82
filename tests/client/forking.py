"""A process that forks while it holds a client or an encoder: `python -m tests.client.forking SCENARIO ARGUMENT…`.

It is one of its own, as gunicorn's is: a process that runs tests holds other tests' native threads, which no child has.
Prints, as JSON, what parent and children saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from askew_client import AsyncClient, Client, Encoder

ROUNDS = 40
CHILDREN = 3


def in_child(task: Callable[[], str], end: Callable[[int], object] = os._exit) -> Callable[[], str]:
    """Run a task in a forked process; call what is returned for its outcome and status. `end`: how the child ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = task()
        # Whatever it is, the parent is told.
        except BaseException as error:  # noqa: BLE001
            outcome = f"{type(error).__name__}: {error}"
        os.write(writer, outcome.encode()[:500])
        os.close(writer)
        end(0)
    os.close(writer)

    def outcome_of() -> str:
        with os.fdopen(reader) as pipe:
            outcome = pipe.read()
        status = os.waitpid(child, 0)[1]
        return outcome if status == 0 else f"{outcome}, then ended with the status {status}"

    return outcome_of


def outcomes(read: Callable[[str], str], read_in_child: Callable[[str], str]) -> Counter[str]:
    """Parent and children read at the same moment, often."""
    found: Counter[str] = Counter()
    for turn in range(ROUNDS):
        read("first")  # The parent now holds an idle connection.
        start = time.time() + 0.02

        def task(number: int, start: float = start, turn: int = turn) -> str:
            wanted = f"item-{random.Random(10 * turn + number).randrange(1000)}"
            time.sleep(max(0.0, start - time.time()))
            return "right" if read_in_child(wanted) == wanted else "WRONG"

        waiting = [in_child(lambda number=number: task(number)) for number in range(CHILDREN)]  # type: ignore[misc]
        found["parent" if read("mine") == "mine" else "PARENT WRONG"] += 1
        found.update(each() for each in waiting)
    return found


def client(url: str) -> Counter[str]:
    with Client(url, timeout=20, retries=0) as client:
        return outcomes(*[lambda name: client.item(name, gallery="g").id] * 2)


def async_client(url: str) -> Counter[str]:
    client = AsyncClient(url, timeout=20, retries=0)

    async def item(name: str) -> str:
        return (await client.item(name, gallery="g")).id

    with asyncio.Runner() as runner:
        found = outcomes(lambda name: runner.run(item(name)), lambda name: asyncio.run(item(name)))
        runner.run(client.close())
    return found


def closing(url: str) -> list[str]:
    with Client(url, timeout=20, retries=0) as client:
        client.item("a", gallery="g")

        def close() -> str:
            client.close()
            return "closed"

        return [in_child(close)(), client.item("b", gallery="g").id]


def busy_threads(url: str) -> list[str]:
    stop = threading.Event()
    with Client(url, timeout=20, retries=0) as client:

        def search() -> None:
            while not stop.is_set():
                client.item("busy", gallery="g")

        threads = [threading.Thread(target=search) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            return [in_child(lambda name=name: client.item(name, gallery="g").id)() for name in "abcdefghijklmnopqrst"]  # type: ignore[misc]
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def grandchild(url: str) -> list[str]:
    with Client(url, timeout=20, retries=0) as client:
        client.item("a", gallery="g")

        def child() -> str:
            mine = client.item("b", gallery="g").id
            theirs = in_child(lambda: client.item("c", gallery="g").id)()
            return f"{mine} {theirs} {client.item('d', gallery='g').id}"

        return in_child(child)().split()


def encoder(path: str, photo: str) -> list[str]:
    """Children that end as a worker of gunicorn does, with the interpreter: one that describes, one that does not."""
    opened = Encoder(path, threads=2)
    mine = opened.encode(photo)

    def describe() -> str:
        return "equal" if (opened.encode(photo) == mine).all() else "DIFFERENT"

    def forget() -> str:
        nonlocal opened
        opened = None  # type: ignore[assignment]
        return "forgotten"

    return [in_child(task, sys.exit)() for task in (describe, forget, lambda: "ignored", describe)]


def replaced_encoder(path: str, photo: str, other: str) -> list[str]:
    """Another encoder is put at its path before a child describes."""
    opened = Encoder(path)
    opened.encode(photo)
    Path(other).replace(path)
    return [in_child(lambda: str(opened.encode(photo)), sys.exit)(), str(len(opened.encode(photo)))]


def opening(path: str, photo: str, mine: str) -> list[str]:
    """Children are forked while another thread opens encoders, and do the same, or use one that was opened before."""
    opened = Encoder(path, threads=1) if mine else None
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            Encoder(path, threads=1)

    def describe() -> str:
        return str(len((opened or Encoder(path, threads=1)).encode(photo)))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        return [in_child(describe, sys.exit)() for _ in range(CHILDREN)]
    finally:
        stop.set()
        thread.join()


def first_photo(path: str, photo: str) -> list[str]:
    """A child is forked while another thread imports what decodes the first HEIC photo."""
    opened = Encoder(path, threads=1)
    sys.setswitchinterval(1e-5)

    def describe() -> str:
        return str(len(opened.encode(photo)))

    thread = threading.Thread(target=describe)
    thread.start()
    while "pillow_heif" not in sys.modules:
        time.sleep(0)
    outcome = in_child(describe, sys.exit)()
    thread.join()
    return [outcome]


def several_threads(path: str, photo: str) -> list[str]:
    """A child describes several photos at a time: how many sessions it opened."""
    from askew_client.encoding import encoder as module

    opened = Encoder(path, threads=1)
    open_session, calls = module._open_session, []

    def count(path: Path, threads: int | None) -> Any:
        calls.append(path)
        return open_session(path, threads)

    module._open_session = count

    def stream() -> str:
        return f"{len(list(opened.encode_stream([photo] * 8, workers=8)))} with {len(calls)}"

    return [in_child(stream, sys.exit)()]


def amid_a_stream(path: str, photo: str) -> list[str]:
    """Children are forked while threads describe photos: one ends, one describes, one goes on with the stream."""
    opened = Encoder(path, threads=1)
    stream = opened.encode_stream([photo] * 20, workers=2)
    next(stream)
    tasks = (lambda: "ended", lambda: str(len(opened.encode(photo))), lambda: str(len(list(stream))))
    return [*(in_child(task, sys.exit)() for task in tasks), str(len(list(stream)))]


def another_folder(path: str, photo: str) -> list[str]:
    """A daemon changes its folder, as daemons do, between opening an encoder and the fork."""
    os.chdir(Path(path).parent)
    opened = Encoder(Path(path).name)
    os.chdir("/")
    return [in_child(lambda: str(len(opened.encode(photo))), sys.exit)()]


SCENARIOS = (
    client,
    async_client,
    closing,
    busy_threads,
    grandchild,
    encoder,
    replaced_encoder,
    opening,
    first_photo,
    several_threads,
    amid_a_stream,
    another_folder,
)

if __name__ == "__main__":
    scenario = {each.__name__: each for each in SCENARIOS}[sys.argv[1]]
    found = scenario(*sys.argv[2:])
    print(json.dumps(found))
