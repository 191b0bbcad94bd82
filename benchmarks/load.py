"""A load generator in a separate process: N connections, each with one request under way at any time.

It uses plain sockets and no HTTP library: on two cores, the server lacks every microsecond that the client uses.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Load:
    """The result of a load: answers per second, milliseconds of each answer, and the number of answers other than 200."""

    rate: float
    milliseconds: NDArray[np.float64]
    refused: int

    def line(self) -> str:
        """One line for the terminal."""
        p50, p99 = np.percentile(self.milliseconds, [50, 99])
        refused = f"   {self.refused} refused" if self.refused else ""
        return f"{self.rate:8.0f} /s   median {p50:7.2f} ms   p99 {p99:7.2f} ms{refused}"


def post_requests(url: str, path: str, headers: dict[str, str], bodies: list[bytes]) -> list[bytes]:
    """The bytes of complete HTTP requests, one for each body."""
    host = urlsplit(url).netloc
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return [
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies
    ]


def load(url: str, requests: list[bytes], connections: int, seconds: float, pause: float = 0.0) -> Load:
    """Send the requests in turn over `connections` for `seconds`. `pause`: seconds to wait after each answer."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_send, args=(there, url, requests, connections, seconds, pause)
    )
    process.start()
    there.close()
    rate, milliseconds, refused = here.recv()
    process.join()
    return Load(rate, milliseconds, refused)


class _OpenConnection:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.expected = -1
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The status of the answer; None until it is complete."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the server closed a connection")
        self.received += chunk
        if self.expected < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self.received[:end].lower()
            at = head.index(b"content-length:") + 15
            self.expected = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        if len(self.received) < self.expected:
            return None
        status = self.received[9:12]
        self.received, self.expected = b"", -1
        return status


def _send(pipe: Connection, url: str, requests: list[bytes], connections: int, seconds: float, pause: float) -> None:
    host, _, port = urlsplit(url).netloc.partition(":")
    waiting = selectors.DefaultSelector()
    open_connections = [_OpenConnection((host, int(port))) for _ in range(connections)]
    for number, each in enumerate(open_connections):
        waiting.register(each.socket, selectors.EVENT_READ, each)
        each.send(requests[number % len(requests)])
    next_request, refused = connections, 0
    times: list[float] = []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for key, _ in waiting.select(1.0):
            each = key.data
            status = each.receive()
            if status is None:
                continue
            if status == b"200":
                times.append(1000 * (time.perf_counter() - each.sent_at))
            else:
                refused += 1
            if pause:
                time.sleep(pause)
            each.send(requests[next_request % len(requests)])
            next_request += 1
    taken = now - began
    for each in open_connections:
        each.socket.close()
    pipe.send((len(times) / taken, np.array(times), refused))
