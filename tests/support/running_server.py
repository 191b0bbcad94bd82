"""Real `askew` processes for tests: the command line run to its end, and a server on a free port."""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support.prefork import Prefork, PreforkedProcess

ASKEW = str(Path(sys.executable).with_name("askew"))
"""The console script, for tests of the script itself."""


_PREFORKS: dict[int, Prefork] = {}
"""The parent of the commands that a process of tests starts, by its process id: a fork does not share it."""


def _prefork() -> Prefork:
    if os.getpid() not in _PREFORKS:
        _PREFORKS[os.getpid()] = Prefork()
        atexit.register(end_commands)
    return _PREFORKS[os.getpid()]


def end_commands() -> None:
    """End the parent of this process's commands, and what still runs below it."""
    prefork = _PREFORKS.pop(os.getpid(), None)
    if prefork is not None:
        prefork.close()


def start_askew(
    *arguments: str | Path, environment: dict[str, str] | None = None, stderr: int = subprocess.PIPE
) -> PreforkedProcess | subprocess.Popen[str]:
    """Start the command line. A library to be loaded first (LD_PRELOAD) needs a new interpreter."""
    started = dict(os.environ) if environment is None else environment
    if "LD_PRELOAD" in started:
        command = [ASKEW, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=started)
    return _prefork().start([*map(str, arguments)], started, subprocess.PIPE, stderr)


def run_askew(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    process = start_askew(*arguments)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(["askew", *map(str, arguments)], process.wait(), stdout, stderr)


class RunningServer:
    """`askew serve --data DATA` and an HTTP client for it."""

    def __init__(
        self, data: Path, *options: str, environment: Mapping[str, str] | None = None, waits: bool = True
    ) -> None:
        """`environment`: variables in addition to those of the test's own process. `waits`: until it is ready."""
        self.data = data
        # A line for each request would fill the pipe, which is read only at the end.
        variables = {"ASKEW_LOG_LEVEL": "warning", **os.environ, **(environment or {})}
        self.process = start_askew(
            "serve", "--data", data, "--port", "0", *options, environment=variables, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        # Its log comes from the same pipe, so warnings about its start may come first.
        self._earlier = ""
        for line in self.process.stdout:
            found = re.search(r"Askew serves .* at (https?://[^\s\"]+)", line)
            if found is not None:
                break
            self._earlier += line
        else:
            self.process.kill()
            rest = self.process.communicate(timeout=60)[0]
            raise AssertionError(f"the server did not start: {self._earlier}{rest}")
        self.start_line = line
        self.url = found[1]
        self.http = httpx.Client(base_url=self.url, timeout=60)
        if waits:
            self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError("the server did not become ready")

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)

    def stop(self) -> str:
        """SIGTERM, and what the server printed, without the line that names its address."""
        self.process.terminate()
        output = self._earlier + self.process.communicate(timeout=60)[0]
        self.http.close()
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
