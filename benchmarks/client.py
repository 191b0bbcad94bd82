"""The cost of a search in the client alone, compared with simpler clients, against a server that answers at once.

    python benchmarks/client.py [--dim 2048] [--seconds 2]

A child process answers every request with the same ten hits, so that the rows differ only in the client's work. The rows
take turns in one run. Each shows the median time of a search and the processor time of this process per search, which
depends less on the load of the machine. The last row is for many concurrent searches with one AsyncClient.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from multiprocessing.connection import Connection

import httpx
import numpy as np

from askew_client import AsyncClient, Client
from askew_client.contract.search import SearchAnswer
from askew_client.contract.wire import pack

SPACE = "sp1-" + "0" * 32
HITS = [{"id": f"photo-{n:06}", "score": 0.9 - n / 100, "payload": {"title": f"Photo {n}", "n": n}} for n in range(10)]
ANSWER = {"hits": HITS, "space": SPACE, "gallery": "default", "index": "exact", "exact": True}
HEADERS = {"Content-Type": "application/octet-stream", "Askew-Space": SPACE, "Askew-Dtype": "f16le"}
TURNS = 5
WARM_UP = 20
AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    # Not forked: the child must not share this process's threads and sockets.
    answering = multiprocessing.get_context("spawn").Process(target=answer_at_once, args=(theirs,), daemon=True)
    answering.start()
    try:
        measure(ours.recv(), options.dim, options.seconds)
    finally:
        answering.terminate()
        answering.join()


def measure(port: int, dim: int, seconds: float) -> None:
    vector = np.full(dim, dim**-0.5, dtype=np.float32)
    body, url = pack(vector), f"http://127.0.0.1:{port}"
    bare = socket.create_connection(("127.0.0.1", port))
    bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [f"{name}: {value}" for name, value in {**HEADERS, "Host": "a", "Content-Length": len(body)}.items()]
    request = "\r\n".join(["POST /search?limit=10 HTTP/1.1", *lines, "", ""]).encode() + body
    standard = HTTPConnection("127.0.0.1", port)

    def with_socket() -> None:
        bare.sendall(request)
        bare.recv(65_536)

    def with_standard_library() -> None:
        standard.request("POST", "/search?limit=10", body, HEADERS)
        json.loads(standard.getresponse().read())

    with httpx.Client(base_url=url) as plain, Client(url) as client:

        def with_httpx() -> None:
            SearchAnswer.model_validate_json(
                plain.post("/search", params={"limit": "10"}, headers=HEADERS, content=body).content
            )

        rows: dict[str, Callable[[], object]] = {
            "bare socket, answer not parsed": with_socket,
            "http.client and json": with_standard_library,
            "httpx.Client and the model": with_httpx,
            "askew_client.Client": lambda: client.search(vector, space=SPACE),
        }
        took: dict[str, list[float]] = {name: [] for name in rows}
        worked: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(TURNS):
            for name, search in rows.items():
                before = time.process_time()
                turn = times(search, seconds / TURNS)
                took[name] += turn
                worked[name].append(1e6 * (time.process_time() - before) / (len(turn) + WARM_UP))
    print(f"{'one search at a time':30} {'median':>9} {'processor time':>18}")
    for name, each in took.items():
        print(f"{name:30} {statistics.median(each):6.0f} µs {statistics.median(worked[name]):15.0f} µs")
    print(f"{f'AsyncClient, {AT_ONCE} concurrent':30} {'':9} {asyncio.run(at_once(url, vector)):15.0f} µs")


def times(search: Callable[[], object], seconds: float) -> list[float]:
    """Microseconds of each search, one after another. The first searches of a turn are a warm-up and not counted."""
    for _ in range(WARM_UP):
        search()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        search()
        took.append(1e6 * (time.perf_counter() - started))
    return took


async def at_once(url: str, vector: np.ndarray) -> float:
    async with AsyncClient(url) as client:

        async def some(searches: int) -> None:
            for _ in range(searches):
                await client.search(vector, space=SPACE)

        await asyncio.gather(*[some(2) for _ in range(AT_ONCE)])
        started = time.process_time()
        await asyncio.gather(*[some(10) for _ in range(AT_ONCE)])
        return 1e6 * (time.process_time() - started) / (10 * AT_ONCE)


def answer_at_once(parent: Connection) -> None:
    """Serve until the process is ended: send the same answer to every request once its body has arrived."""
    content = json.dumps(ANSWER, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: {len(content)}\r\n"
        "content-type: application/json\r\nserver-timing: read;dur=0.10, search;dur=0.20\r\n"
        f"x-request-id: {os.urandom(8).hex()}\r\nx-content-type-options: nosniff\r\n\r\n"
    )
    answer = head.encode() + content
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    parent.send(listening.getsockname()[1])
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer_one_connection, args=(connection, answer), daemon=True).start()


def answer_one_connection(connection: socket.socket, answer: bytes) -> None:
    waiting = b""
    while received := connection.recv(262_144):
        waiting += received
        head, found, body = waiting.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                waiting = body[length:]
                connection.sendall(answer)


if __name__ == "__main__":
    main()
