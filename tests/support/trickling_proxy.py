"""A proxy before a server that can let answers trickle: some byte every now and then, and never the end."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal, Self

Way = Literal["headers", "body", "problem"]

_SECONDS = 0.2
_HEADS: dict[Way, bytes] = {
    "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "problem": b"HTTP/1.1 409 Conflict\r\nContent-Length: 1000000\r\n\r\n",
}


class TricklingProxy:
    """Passes everything on to a port of this machine, until `trickle`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._way: Way | None = None
        self._stopped = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._held: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def trickle(self, way: Way) -> None:
        """Answer nothing from now on but bytes that lead nowhere. Open connections break."""
        self._way = way
        self._break()

    def held(self) -> int:
        """How many clients it trickles for."""
        return len(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._listening.close()
        self._break()

    def _break(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if self._way is not None:
                client.recv(65_536)
                self._held.add(client)
                try:
                    client.sendall(_HEADS[self._way])
                    while not self._stopped.wait(_SECONDS):
                        client.sendall(b"x")
                finally:
                    self._held.discard(client)
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                self._open.append(server)
                back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                back.start()
                _pass_on(client, server)
                back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
