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
    """Send bytes on a connection of their own and read the first answer."""
    with closing(connect(url, timeout)) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_answer(connection)


def read_answer(connection: socket.socket) -> RawAnswer:
    """Read one answer with a Content-Length."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            received += _some(connection)
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += _some(connection)
    except (ConnectionError, EOFError):
        return RawAnswer(0, {}, received)
    return RawAnswer(int(first.split()[1]), headers, body)


def _some(connection: socket.socket) -> bytes:
    received = connection.recv(65_536)
    if not received:
        raise EOFError
    return received
