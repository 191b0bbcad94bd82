"""The open connections to another server, so that one on which an answer trickles can be broken off.

A thread that reads an answer's head gets no word in before the head is complete, which may be never. So it is its connection
that ends: the thread then fails, and the place in the pool is free.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_OPENED = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
"""How the events end with which httpcore tells of a stream that it has opened."""


class Connections:
    """The connections of one client, as its extension `trace` tells of them. May be used from any thread."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def note(self, event: str, information: Mapping[str, Any]) -> None:
        """Remember what is opened; httpx calls this for each event of a request that names it (`extensions["trace"]`)."""
        if not event.endswith(_OPENED):
            return
        opened = information["return_value"].get_extra_info("socket")
        if isinstance(opened, socket.socket):
            with self._lock:
                self._sockets.add(opened)

    def break_off(self) -> None:
        """End all of them: whoever reads or writes there fails at once. Requests that come later open new ones."""
        with self._lock:
            opened = list(self._sockets)
            self._sockets.clear()
        for each in opened:
            # Its plain method: that of an encrypted one waits for nobody, but changes the socket under its reader.
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)
