"""The encoder files of an experiment's networks: as they were trained, or whitened as published figures are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from askew_client.files import write_atomically
from askew_training.errors import DataError, WeightsError
from askew_training.experiment.child import run_command
from askew_training.experiment.plan import Kind, WhiteningTable
from askew_training.experiment.workplace import Workplace
from askew_training.export.encoder_file import EncoderCard, write_encoder
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.vectors.description import open_encoder

LICENCE = "for this experiment only: see the licences of its photos"


class Encoders:
    """Makes each encoder file of an experiment once, in its folder.

    Without a whitening, a network has one file, which describes queries and galleries. With one, it has its own whitening
    for symmetric tests, and a student has its teacher's for asymmetric ones: only that is in its teacher's space.
    """

    def __init__(self, place: Workplace, whitening: WhiteningTable | None, say: Callable[[str], None]) -> None:
        """`whitening`: with the paths that its files have on this machine, from `located_whitening`."""
        self._place, self._whitening, self._say = place, whitening, say

    def teacher(self) -> Path:
        """The teacher's file. Raises AskewError if it cannot be exported."""
        if self._whitening is None:
            return self._place.teacher
        folder = self._place.out / "teacher"
        folder.mkdir(exist_ok=True)
        made_by, output = _digest(self._whitening.teacher), folder / "encoder.onnx"
        if not _is_made_by(output, made_by):
            if load_checkpoint(self._whitening.teacher).network.linear is None:
                raise WeightsError(
                    f"{self._whitening.teacher} has no whitening to give to its students. Expected a checkpoint that "
                    "`askew whiten`, or `askew import-checkpoint --whitening`, wrote."
                )
            _export(self._whitening.teacher, "teacher", output)
            _note(output, made_by)
        return output

    def has_asymmetric(self, cell: str) -> bool:
        """Whether a cell's network is a student of the experiment's teacher. Raises AskewError."""
        if self._whitening is None:
            space_id = open_encoder(self.of_cell(cell, "symmetric")).manifest.space_id
            return space_id == open_encoder(self._place.teacher).manifest.space_id
        return load_checkpoint(self._trained(cell)).description.teacher_space is not None

    def of_cell(self, cell: str, testing: Kind) -> Path:
        """The file of a cell's network for one kind of test. Raises AskewError if it cannot be made."""
        folder = self._place.out / "cells" / cell
        if self._whitening is None:
            output = folder / "encoder.onnx"
            if not output.exists():
                _export(self._trained(cell), cell, output)
            return output
        output = folder / f"{testing}.onnx"
        made_by = _digest(self._whitening.teacher) if testing == "asymmetric" else _own_made_by(self._whitening)
        if not _is_made_by(output, made_by):
            whitened = folder / f"{testing}.pt"
            self._whiten(cell, testing, whitened)
            _export(whitened, f"{cell}.{testing}", output)
            # It can be made again in seconds from the vectors in the cache.
            whitened.unlink()
            _note(output, made_by)
        return output

    def _whiten(self, cell: str, testing: Kind, output: Path) -> None:
        assert self._whitening is not None
        self._say(f"whitening {cell}, {testing}")
        start = self._trained(cell)
        options: list[object] = ["--method", "given", "--space-of", self._whitening.teacher]
        if testing == "symmetric":
            dim = self._whitening.dim or load_checkpoint(start).network.channels
            options = [
                *("--method", "lw", "--dim", dim, "--shrinkage", self._whitening.shrinkage),
                *("--whitening-pairs", self._whitening.pairs, "--images", self._whitening.images),
                *("--licences", self._whitening.licences, "--cache", self._place.cache),
            ]
        arguments = ["whiten", str(output), "--start", str(start), *map(str, options)]
        ended = run_command(arguments, output.with_name("whitening.txt"), self._place)
        if ended.reason:
            raise WeightsError(f"its whitening failed: {ended.reason}")

    def _trained(self, cell: str) -> Path:
        return self._place.out / "cells" / cell / "run" / "last.pt"


def located_whitening(table: WhiteningTable | None, folders: Sequence[Path]) -> WhiteningTable | None:
    """The table with the paths that its files have in the first folder that holds each. Raises DataError."""
    if table is None:
        return None
    found: dict[str, Path] = {}
    for key in ("pairs", "images", "licences", "teacher"):
        path: Path = getattr(table, key)
        chosen = next((folder / path for folder in folders if (folder / path).exists()), None)
        if chosen is None:
            raise DataError(
                f"The experiment whitens with {path} (`{key}` of [whitening]), which is not in {folders[0]}. Name the folder that "
                "holds it with --data."
            )
        found[key] = chosen
    return table.model_copy(update=found)


def _export(checkpoint: Path, name: str, output: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    described = loaded.description
    card = EncoderCard(
        name=name.replace("seed-", "s"),
        version="1",
        role="student" if described.teacher_space else "teacher",
        photo_size=described.photo_size,
        scales=described.scales,
        precision="fp32",
        licence=LICENCE,
        metrics={},
    )
    # Not simplified: the vectors are the same, and it takes up to a minute for each.
    write_encoder(loaded, card, output, simplified=False)


def _is_made_by(output: Path, made_by: str) -> bool:
    """Whether a file is there, and was made by the whitening with this digest."""
    try:
        return output.exists() and json.loads(output.with_suffix(".json").read_bytes()) == made_by
    except (OSError, ValueError):
        return False


def _note(output: Path, made_by: str) -> None:
    write_atomically(output.with_suffix(".json"), json.dumps(made_by).encode())


def _own_made_by(table: WhiteningTable) -> str:
    """What a network's own whitening depends on."""
    return f"dim {table.dim}, shrinkage {table.shrinkage}, pairs {_digest(table.pairs)}"


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"Expected a file, but {path} cannot be read: {error.strerror}.") from None
