"""Programs that tests need and that only Debian packages: from the PATH, or fetched without being installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

# Beside the packages of the tests, so that `make clean` removes it and it is fetched once.
FETCHED = Path(sys.prefix) / "debian"
PATIENCE = 300


def find_program(name: str, package: str) -> Path | None:
    """The program, from Debian's package if it is not on the PATH; None where that cannot be fetched."""
    if on_path := shutil.which(name):
        return Path(on_path)
    program = FETCHED / package / "usr/bin" / name
    return program if program.exists() or _fetch(package, program) else None


def _fetch(package: str, program: Path) -> bool:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    FETCHED.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", package], cwd=FETCHED, check=True, capture_output=True, timeout=PATIENCE)
        for archive in FETCHED.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, FETCHED / package], check=True, timeout=PATIENCE)
            archive.unlink()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return program.exists()
