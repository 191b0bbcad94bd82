"""Training one cell in a process of its own: if it is killed or runs out of memory, the rest of the experiment goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from askew_client.cli.taken import EXIT_INCOMPLETE
from askew_client.files import write_atomically
from askew_training.experiment.cells import LOG, RECIPE, CellFolder

SECONDS = "seconds.json"
INTERRUPTED = 130
_KEPT = re.compile(r"[^\x20-\x7e\u00a0-\uffff]")


@dataclass(frozen=True)
class Ended:
    """How the training of a cell ended. `reason`: why it failed, "" if it did not. `seconds`: with earlier parts."""

    reason: str
    seconds: float
    command: tuple[str, ...]


def train_cell(folder: CellFolder, options: Sequence[str], held: int, environment: Mapping[str, str]) -> Ended:
    """Train a cell to its end, from its last checkpoint if it has one. What is printed goes to its log.

    `options`: of `askew train`. `held`: the descriptor of the experiment's lock, which the process keeps locked as long as it runs,
    also if this one is killed. Raises KeyboardInterrupt if the training was asked to stop; it is saved then.
    """
    resume = ["--resume"] if folder.checkpoint.exists() else []
    arguments = ("train", str(folder.path / RECIPE), str(folder.run), *options, *resume)
    before = _seconds(folder.path)
    started = time.monotonic()
    with (folder.path / LOG).open("ab") as log:
        log.write(f"$ askew {' '.join(arguments)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "askew_client.main", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=(held,), env=dict(environment),
        )  # fmt: skip
        code = _wait(process)
    seconds = before + time.monotonic() - started
    write_atomically(folder.path / SECONDS, json.dumps(seconds).encode())
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return Ended(_reason(code, folder.path / LOG), seconds, ("askew", *arguments))


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for its end; if this process is to stop, let it stop and save first."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


def _seconds(folder: Path) -> float:
    try:
        return float(json.loads((folder / SECONDS).read_bytes()))
    except (OSError, ValueError):
        return 0.0


def _reason(code: int, log: Path) -> str:
    """Why it failed, in the words of its last paragraph; "" if it did not."""
    if code in (0, EXIT_INCOMPLETE):
        return ""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}; see {log}."
    lines = [_KEPT.sub("", line).strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line]
    return f"{said[-1] if said else 'it said nothing'} (exit code {code}; see {log})"
