"""`askew` as a separate process, without importing everything again each time.

A server needs a second of processor time to import what it runs on, and the suite starts hundreds. So each process of
tests has one parent that has imported it already: for every command it forks a child, which takes over the command's
arguments, environment, folder and streams and runs the same `main()` as the console script. It is killed, signalled and
waited for like any other process. What is about the console script itself, or about the interpreter's environment, starts
it by its path instead (`ASKEW` in running_server.py).
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_PRELOADED = (
    "askew_client.cli.registry",
    "askew_client",
    "askew_client.encoding.encoder",
    "askew_server.http.server",
    "askew_server.http.app",
    "httpx",
    "rich.console",
    "rich.progress",
    "typer",
)
_MESSAGE = 1 << 20
_STREAMS = 3


class PreforkedProcess:
    """A running `askew`, with the members of subprocess.Popen that tests use."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        """`status`: a pipe from which its exit code is read once it has ended."""
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["askew"], timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # It may have ended since, and its exit code may still be under way.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their ends, and wait for the process."""
        deadline = None if timeout is None else time.monotonic() + timeout
        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None and not stream.closed]
        texts: dict[IO[str], bytes] = dict.fromkeys(streams, b"")
        pending: list[IO[str]] = list(texts)
        while pending:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready: list[IO[str]] = select.select(pending, [], [], left)[0]
            if not ready:
                raise subprocess.TimeoutExpired(["askew"], timeout or 0)
            for stream in ready:
                part = os.read(stream.fileno(), _MESSAGE)
                texts[stream] += part
                if not part:
                    pending.remove(stream)
        # What a reader of lines has buffered already comes first.
        read = {stream: (_buffered(stream) + text).decode(errors="replace") for stream, text in texts.items()}
        for stream in texts:
            stream.close()
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return tuple("" if stream is None else read.get(stream, "") for stream in (self.stdout, self.stderr))  # type: ignore[return-value]

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            text = os.read(self._status, 64)
            os.close(self._status)
            # Nothing at all: the parent itself was killed, and its children with it.
            self.returncode = int(text) if text else -signal.SIGKILL
        return self.returncode


class Prefork:
    """The parent of the commands that this process starts; it ends with this process."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.support.prefork", str(there.fileno())]
        root = Path(__file__).parents[2]
        self._parent = subprocess.Popen(command, cwd=root, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
        there.close()

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdout: int, stderr: int
    ) -> PreforkedProcess:
        """Start `askew ARGUMENTS`. `stdout`, `stderr`: subprocess.PIPE, or STDOUT for the second."""
        assert stdout == subprocess.PIPE
        out_read, out_write = os.pipe()
        error_read, error_write = os.pipe() if stderr == subprocess.PIPE else (None, os.dup(out_write))
        status_read, status_write = os.pipe()
        with Path(os.devnull).open("rb") as nothing:
            request = json.dumps([list(arguments), dict(environment), str(Path.cwd())]).encode()
            handed = [nothing.fileno(), out_write, error_write, status_write]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handed))]
            self._here.sendmsg([request], ancillary)
        for descriptor in (out_write, error_write, status_write):
            os.close(descriptor)
        pid = int(self._here.recv(64))
        error = None if error_read is None else os.fdopen(error_read, encoding="utf-8", errors="replace")
        return PreforkedProcess(pid, status_read, os.fdopen(out_read, encoding="utf-8", errors="replace"), error)

    def close(self) -> None:
        """End the parent, which ends its children."""
        self._here.close()
        self._parent.wait()


def _buffered(stream: IO[str]) -> bytes:
    """What a text stream has read from its pipe and not handed out yet."""
    os.set_blocking(stream.fileno(), False)
    try:
        return (stream.read() or "").encode()
    except (BlockingIOError, TypeError):
        return b""


def _serve(channel: socket.socket) -> list[str]:
    """Fork a child for each request; in the child, its arguments are returned. The parent itself never returns."""
    statuses: dict[int, int] = {}
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        sources: list[Any] = [channel, wake_read]
        ready = select.select(sources, [], [])[0]
        if wake_read in ready:
            os.read(wake_read, _MESSAGE)
            _report_ended(statuses)
        if channel not in ready:
            continue
        request, ancillary, _, _ = channel.recvmsg(_MESSAGE, socket.CMSG_SPACE(4 * array.array("i").itemsize))
        if not request:
            for pid in statuses:
                os.kill(pid, signal.SIGKILL)
            for pid in list(statuses):
                os.waitpid(pid, 0)
            os._exit(0)
        descriptors = array.array("i")
        descriptors.frombytes(ancillary[0][2])
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (channel.fileno(), wake_read, wake_write, *statuses.values()):
                os.close(descriptor)
            channel.detach()
            return _become(json.loads(request), list(descriptors))
        statuses[pid] = descriptors[-1]
        for descriptor in descriptors[:_STREAMS]:
            os.close(descriptor)
        channel.send(str(pid).encode())


def _report_ended(statuses: dict[int, int]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        descriptor = statuses.pop(pid)
        os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(descriptor)


def _become(request: tuple[list[str], dict[str, str], str], descriptors: list[int]) -> list[str]:
    """Take over a command's streams, environment and folder; its arguments."""
    arguments, environment, folder = request
    for number, descriptor in enumerate(descriptors[:_STREAMS]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        if descriptor >= _STREAMS:
            os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    write_through = bool(environment.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, write_through)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, True)  # type: ignore[misc]
    return arguments


def _stream(descriptor: int, write_through: bool) -> Any:
    # As the interpreter opens them: lines at once on stderr, blocks on a stdout that is not a terminal.
    return os.fdopen(descriptor, "w", 1 if write_through else -1, encoding="utf-8", closefd=False)


def main() -> None:
    """Be the parent; in each child, be the command."""
    for name in _PRELOADED:
        __import__(name)
    from askew_client.cli.main import main as askew

    arguments = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = ["askew", *arguments]
    askew()


if __name__ == "__main__":
    main()
