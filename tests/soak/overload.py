"""Twice the sustainable load for some minutes: memory must stay bounded, and each answer must be correct or a 429.

    python tests/soak/overload.py [--minutes 30] [--items 5000] [--dim 512]

The sustainable rate is measured first, with 32 clients that each wait for their answer. Then requests are sent at twice
that rate, without waiting for answers, over as many connections as needed. Each query is a stored vector, so its item
must come first. At the end the server must answer one client as fast as before.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from load import load, post_requests
from measured_gallery import MeasuredGallery

from askew_client.contract.wire import pack

MAX_CONNECTIONS = 600
MAX_ANSWER_SECONDS = 30.0
MIN_RATE = 0.25
"""A share of the sustainable rate: refusals take processor time, too, and so does the load generator."""
MAX_MEMORY_GROWTH = 150e6
"""Bytes for the buffers of 600 connections and the allocator's slack."""


@dataclass
class Report:
    """The result of a run; `problems` is empty if the server behaved correctly."""

    sustainable: float = 0.0
    rate: float = 0.0
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    not_sent: int = 0
    median_before: float = 0.0
    median_after: float = 0.0
    memory: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(minutes: float, items: int, dim: int) -> Report:
    """Overload a new server for `minutes`, and report the result. `items`, `dim`: the size of its gallery."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((items, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    report = Report()
    with tempfile.TemporaryDirectory() as folder, MeasuredGallery(Path(folder), vectors) as gallery:
        requests = post_requests(gallery.url, "/search?limit=3", gallery.headers, [pack(v) for v in vectors[:500]])
        load(gallery.url, requests, 32, 1)
        report.sustainable = load(gallery.url, requests, 32, 4).rate
        report.median_before = float(np.median(load(gallery.url, requests, 1, 2).milliseconds))
        process = psutil.Process(gallery.process_id)
        _overload(gallery.url, requests, 2 * report.sustainable, 60 * minutes, process, report)
        report.rate = report.statuses[200] / (60 * minutes)
        report.median_after = float(np.median(load(gallery.url, requests, 1, 2).milliseconds))
    _judge(report)
    return report


def _judge(report: Report) -> None:
    unexpected = set(report.statuses) - {200, 429}
    if unexpected:
        report.problems.append(f"answers with status {sorted(unexpected)}")
    if not report.statuses[429]:
        report.problems.append("nothing was refused, so the server was not overloaded")
    if report.rate < MIN_RATE * report.sustainable:
        report.problems.append(f"only {report.rate:.0f} answers /s, {report.sustainable:.0f} /s were sustainable")
    settled = report.memory[len(report.memory) // 5]
    if max(report.memory) - settled > MAX_MEMORY_GROWTH:
        report.problems.append(f"memory grew from {settled / 1e6:.0f} to {max(report.memory) / 1e6:.0f} MB")
    if report.median_after > 3 * report.median_before + 5:
        report.problems.append(
            f"afterwards {report.median_after:.1f} ms for one client, {report.median_before:.1f} ms before"
        )


class _Connection:
    """A plain socket with one request under way at a time. It uses little processor time, which the server needs."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self._received = b""

    def send(self, request: bytes, number: int) -> None:
        self.number, self._received = number, b""
        self.socket.sendall(request)

    def receive(self) -> tuple[bytes, bytes] | None:
        """Head and body of the answer; None until it is complete."""
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError("the server closed a connection")
        self._received += chunk
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return None
        head = head.lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return (head, body) if len(body) >= length else None


def _overload(
    url: str, requests: list[bytes], rate: float, seconds: float, process: psutil.Process, report: Report
) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    waiting = selectors.DefaultSelector()
    idle: list[_Connection] = []
    connections: list[_Connection] = []
    under_way = 0
    began = time.monotonic()
    next_memory_reading = began
    while (now := time.monotonic()) - began < seconds or under_way:
        due = int((now - began) * rate) - report.sent - report.not_sent if now - began < seconds else 0
        for _ in range(due):
            if idle:
                connection = idle.pop()
            elif len(connections) < MAX_CONNECTIONS:
                connection = _Connection((host, int(port)))
                connections.append(connection)
                waiting.register(connection.socket, selectors.EVENT_READ, connection)
            else:
                report.not_sent += 1
                continue
            number = report.sent % len(requests)
            connection.send(requests[number], number)
            report.sent += 1
            under_way += 1
        for key, _ in waiting.select(0.001):
            answer = key.data.receive()
            if answer is not None:
                head, body = answer
                _check_answer(key.data.number, head, body, report)
                idle.append(key.data)
                under_way -= 1
        if now >= next_memory_reading:
            report.memory.append(float(process.memory_info().rss))
            next_memory_reading = now + 1
        if now - began > seconds + MAX_ANSWER_SECONDS:
            report.problems.append(f"{under_way} requests had no answer {MAX_ANSWER_SECONDS:g} s later")
            break
    for connection in connections:
        connection.socket.close()


def _check_answer(number: int, head: bytes, body: bytes, report: Report) -> None:
    status = int(head[9:12])
    report.statuses[status] += 1
    if status == 200 and (found := json.loads(body)["hits"][0])["id"] != f"item-{number:07d}":
        report.problems.append(f"query {number} got {found}")
    elif status == 429 and b"retry-after" not in head:
        report.problems.append("a 429 without Retry-After")


def main() -> int:
    """Run the test and print the result; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    # Under overload every search is slow, and each would write a warning to the log.
    os.environ.setdefault("ASKEW_LOG_LEVEL", "error")
    report = run(options.minutes, options.items, options.dim)
    answered = ", ".join(f"{count} with {status}" for status, count in sorted(report.statuses.items()))
    print(f"sustainable {report.sustainable:.0f} /s; {report.sent} sent in {options.minutes:g} min: {answered}")
    print(f"correct answers under overload: {report.rate:.0f} /s")
    print(f"not sent because {MAX_CONNECTIONS} requests were waiting: {report.not_sent}")
    print(
        f"memory {min(report.memory) / 1e6:.0f} to {max(report.memory) / 1e6:.0f} MB (median {statistics.median(report.memory) / 1e6:.0f})"
    )
    print(f"one client's median {report.median_before:.2f} ms before, {report.median_after:.2f} ms after")
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
