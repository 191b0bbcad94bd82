"""A client that is used after a fork (gunicorn --preload, Celery, multiprocessing) has connections of its own."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from askew_client import AsyncClient, Client

ROUNDS = 40
CHILDREN = 3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that answers each item's path with that item, after a moment in which answers could be exchanged."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(0.002)
            body = (
                b'{"id": "%s", "payload": {}, "has_photo": false}' % self.path.split("?")[0].rsplit("/", 1)[1].encode()
            )
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def in_child(task: Callable[[], str]) -> Callable[[], str]:
    """Run a task in a forked process; call what is returned for its outcome."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = task()
        # Whatever it is, the parent is told.
        except BaseException as error:  # noqa: BLE001
            outcome = f"{type(error).__name__}: {error}"
        os.write(writer, outcome.encode()[:500])
        os._exit(0)
    os.close(writer)

    def outcome_of() -> str:
        with os.fdopen(reader) as pipe:
            outcome = pipe.read()
        os.waitpid(child, 0)
        return outcome

    return outcome_of


def outcomes(read: Callable[[str], str], read_in_child: Callable[[str], str]) -> Counter[str]:
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


@pytest.mark.slow
def test_forked_children_get_their_own_answers(url: str) -> None:
    with Client(url, timeout=20, retries=0) as client:
        found = outcomes(*[lambda name: client.item(name, gallery="g").id] * 2)
    assert found == {"right": ROUNDS * CHILDREN, "parent": ROUNDS}


@pytest.mark.slow
def test_so_do_those_of_an_async_client(url: str) -> None:
    client = AsyncClient(url, timeout=20, retries=0)

    async def item(name: str) -> str:
        return (await client.item(name, gallery="g")).id

    with asyncio.Runner() as runner:
        found = outcomes(lambda name: runner.run(item(name)), lambda name: asyncio.run(item(name)))
        runner.run(client.close())
    assert found == {"right": ROUNDS * CHILDREN, "parent": ROUNDS}


@pytest.mark.slow
def test_closing_in_a_child_leaves_the_parents_connection_open(url: str) -> None:
    with Client(url, timeout=20, retries=0) as client:
        client.item("a", gallery="g")

        def close() -> str:
            client.close()
            return "closed"

        assert in_child(close)() == "closed"
        assert client.item("b", gallery="g").id == "b"


@pytest.mark.slow
def test_a_fork_in_the_middle_of_other_threads_requests_does_not_block_the_child(url: str) -> None:
    stop = threading.Event()
    with Client(url, timeout=20, retries=0) as client:

        def search() -> None:
            while not stop.is_set():
                client.item("busy", gallery="g")

        threads = [threading.Thread(target=search) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                name = f"item-{number}"
                assert in_child(lambda name=name: client.item(name, gallery="g").id)() == name  # type: ignore[misc]
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@pytest.mark.slow
def test_a_grandchild_has_its_own_connections_too(url: str) -> None:
    with Client(url, timeout=20, retries=0) as client:
        client.item("a", gallery="g")

        def child() -> str:
            mine = client.item("b", gallery="g").id
            theirs = in_child(lambda: client.item("c", gallery="g").id)()
            return f"{mine} {theirs} {client.item('d', gallery='g').id}"

        assert in_child(child)() == "b c d"
