"""The folder of an experiment: whose it is, and who works in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from askew_client.files import write_atomically
from askew_training.errors import DataError
from askew_training.experiment.plan import LoadedExperiment

LOCK, STATED = "lock", "experiment.json"


class _Stated(BaseModel):
    """Which experiment a folder belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str
    text: str


@dataclass(frozen=True)
class Workplace:
    """An experiment's folder, held by this process.

    `data`: the folders in which relative paths are looked for. `teacher`: its encoder file. `vectors`: its vectors of the
    training photos. `held`: the descriptor of the lock. `options`: further options of `askew train`.
    """

    out: Path
    data: tuple[Path, ...]
    teacher: Path
    vectors: Path
    held: int
    options: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """The folder of vectors that can always be computed again."""
        return self.out / "cache"


@contextmanager
def held_folder(out: Path) -> Iterator[int]:
    """Create the folder, and hold its lock; yields the lock's descriptor. Raises DataError if it is held.

    A process that inherits the descriptor holds the lock too, so that nobody trains a cell that a process left behind is
    still training.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"Expected a folder for the experiment, but {out} is a file.")
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            raise DataError(
                f"Another run works in {out} (process {who or 'unknown'}, or a training that it began). Wait for its end, or "
                "choose another folder."
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def claim_folder(out: Path, loaded: LoadedExperiment) -> None:
    """Write which experiment the folder belongs to. Raises DataError if it belongs to another, or holds something else."""
    path = out / STATED
    try:
        stated = _Stated.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        others = sorted(each.name for each in out.iterdir() if each.name != LOCK)
        if others:
            raise DataError(f"{out} holds {others[0]}, but no experiment. Choose an empty or a new folder.") from None
        stated = None
    except (OSError, ValidationError):
        raise DataError(f"{path} is damaged. Choose another folder.") from None
    if stated is not None and stated.name != loaded.experiment.name:
        raise DataError(
            f"{out} holds the experiment {stated.name}, not {loaded.experiment.name}. Choose another folder for each."
        )
    if stated is None or stated.sha256 != loaded.digest:
        content = _Stated(name=loaded.experiment.name, sha256=loaded.digest, text=loaded.text)
        write_atomically(path, content.model_dump_json(indent=1).encode() + b"\n")
