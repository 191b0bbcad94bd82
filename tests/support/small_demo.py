"""The demo as it is, with fewer photos: its scripts, encoders and queries, and some of its 147 photos."""

from __future__ import annotations

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import DEMO

# The gate judges a student by ten photos or more.
PHOTOS = 12


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class SmallDemo:
    """A copy of demo/. `data`: the DATA directory of its runs."""

    folder: Path
    data: Path

    def environment(self, port: int, **variables: str) -> dict[str, str]:
        switches = {"PHONE": "", "CHECK": "", "HOST": ""}
        return {**os.environ, **switches, "PORT": str(port), "DEMO_DATA": str(self.data), **variables}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(self.folder / "run.py")]

    def check(self, **variables: str) -> str:
        """Run it with CHECK=1: what it printed. Raises AssertionError if it failed."""
        environment = self.environment(free_port(), CHECK="1", **variables)
        done = subprocess.run(self.command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refusal(self, port: int | str, **variables: str) -> str:
        """Run it, expecting that it refuses: the one line that it prints."""
        environment = {**self.environment(0, **variables), "PORT": str(port)}
        done = subprocess.run(self.command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert not self.data.exists()
        return done.stderr

    @contextmanager
    def running(self, port: int, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """Run it until the block ends: its process, and what it printed until it serves."""
        demo = subprocess.Popen(
            self.command, env=self.environment(port, **variables), stdout=subprocess.PIPE, text=True
        )
        try:
            assert demo.stdout is not None
            printed = ""
            for line in demo.stdout:
                printed += line
                if "until you press Ctrl-C" in line:
                    break
            assert "until you press Ctrl-C" in printed, printed
            yield demo, printed
        finally:
            # Its server ends with it.
            demo.kill()
            demo.communicate()


def copy_small_demo(folder: Path, photos: int = PHOTOS) -> SmallDemo:
    """Copy the demo into a folder that does not exist yet, with so many photos: first those that its queries find."""
    (folder / "gallery").mkdir(parents=True)
    for script in DEMO.glob("*.py"):
        shutil.copy(script, folder)
    for unchanged in ("encoders", "queries"):
        (folder / unchanged).symlink_to(DEMO / unchanged)
    with (DEMO / "credits.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    queries = [row for row in rows if row["role"] == "query"]
    wanted = {row["id"] for row in queries}
    items = sorted((row for row in rows if row["role"] != "query"), key=lambda row: row["id"] not in wanted)[:photos]
    for row in items:
        shutil.copy(DEMO / row["file"], folder / row["file"])
    with (folder / "credits.csv").open("w", encoding="utf-8", newline="") as output:
        writer = csv.DictWriter(output, rows[0].keys())
        writer.writeheader()
        writer.writerows([*items, *queries])
    return SmallDemo(folder, folder.parent / "data")


def address_in(printed: str) -> str:
    """The address that the demo prints for phones."""
    found = re.search(r"or open (https://\S+#key=ask_\S+)", printed)
    assert found, printed
    return found[1]
