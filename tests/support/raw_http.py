"""HTTP as bytes on a socket, for what no well-behaved client would send."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class RawAnswer:
    """One answer: `status` 0 where the server closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(url: str, timeout: float = 20) -> socket.socket:
    """A connection to the server of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout)


def exchange(url: str, request: bytes, timeout: float = 20) -> RawAnswer:
    """Send bytes on a new connection and read the first answer."""
    with closing(connect(url, timeout)) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_answer(connection)


def read_answer(connection: socket.socket) -> RawAnswer:
    """Read one answer with a Content-Length, and no byte of the next one."""
    received = b""
    try:
        while not received.endswith(b"\r\n\r\n"):
            received += _some(connection, 1)
        first, *lines = received.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length, body = int(headers.get("content-length", "0")), b""
        while len(body) < length:
            body += _some(connection, length - len(body))
    except (ConnectionError, EOFError):
        return RawAnswer(0, {}, received)
    return RawAnswer(int(first.split()[1]), headers, body)


def _some(connection: socket.socket, most: int) -> bytes:
    received = connection.recv(most)
    if not received:
        raise EOFError
    return received
