"""A real server process for tests: `askew serve` on a free port, stopped by its process id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

ASKEW = str(Path(sys.executable).with_name("askew"))


def run_askew(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run([ASKEW, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False)


class RunningServer:
    """`askew serve --data DATA` and an HTTP client for it."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [ASKEW, "serve", "--data", str(data), "--port", "0", *options]
        # A line for each request would fill the pipe that nobody reads before the end.
        environment = {"ASKEW_LOG_LEVEL": "warning", **os.environ}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"https?://\S+", line)
        if found is None:
            self.process.kill()
            rest = self.process.communicate(timeout=20)[0]
            raise AssertionError(f"the server did not start: {line}{rest}")
        self.url = found[0]
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("the server did not become ready")

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)

    def stop(self) -> str:
        """SIGTERM, and what the server printed after its first line."""
        if self.process.poll() is None:
            self.process.terminate()
        output = self.process.communicate(timeout=30)[0]
        self.http.close()
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
