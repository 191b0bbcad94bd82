"""A real Milvus Lite server for tests: one process, one folder, one port."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.small_demo import free_port
from tests.support.waiting import wait_until

_PROGRAM = str(Path(sys.executable).with_name("milvus-lite"))


class MilvusServer:
    """`milvus-lite server` on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        """As commands take it."""
        return f"milvus://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        command = [_PROGRAM, "server", "--data-dir", str(self._folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._accepts, "milvus-lite to accept connections")

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _accepts(self) -> bool:
        assert self._process.poll() is None, "milvus-lite did not start"
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0
