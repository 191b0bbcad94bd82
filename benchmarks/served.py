"""A server process for a benchmark."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from askew_client import Client
from askew_client.errors import ServerError
from askew_server.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Run `askew serve` with these settings until the block ends; yields its URL once it is ready."""
    command = [
        str(Path(sys.executable).with_name("askew")),
        "serve",
        "--data",
        str(settings.data),
        "--port",
        str(settings.port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r'http://[^\s"]+', process.stdout.readline())
        assert found is not None, "the server did not start"
        _wait_until_ready(found[0])
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    with Client(url, retries=0) as client:
        while time.monotonic() < deadline:
            try:
                client.galleries()
                return
            except ServerError:
                time.sleep(0.05)
    raise AssertionError(f"{url} did not become ready")
