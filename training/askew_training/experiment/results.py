"""Measuring the networks of an experiment on its datasets: once, after all training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.errors import AskewError
from askew_client.files import write_atomically
from askew_training.errors import DataError
from askew_training.evaluate.measurement import Measurement, read_measurement
from askew_training.experiment.cells import CellRecord
from askew_training.experiment.child import run_command
from askew_training.experiment.encoders import Encoders, located_whitening
from askew_training.experiment.plan import DatasetTable, Experiment, Kind
from askew_training.experiment.workplace import Workplace

TEACHER = "teacher"
MEASURED = "made-by.txt"
"""Not `.json`: `askew compare` takes all of those in a folder for measurements."""
FORMERLY_MEASURED = "measured.json"
_KINDS: tuple[Kind, ...] = ("asymmetric", "symmetric")


@dataclass(frozen=True)
class Measured:
    """A measurement of one cell's network. `cell`: its name, or "teacher"."""

    cell: str
    testing: Kind
    measurement: Measurement


@dataclass(frozen=True)
class _Pair:
    """Two encoder files to measure."""

    cell: str
    testing: Kind
    queries: Path
    gallery: Path


def measure_all(
    experiment: Experiment,
    place: Workplace,
    folders: Sequence[Path],
    records: Sequence[CellRecord],
    intake: Intake,
    say: Callable[[str], None],
) -> list[Measured]:
    """Measure the teacher and every network that counts, on every dataset, symmetric and (students) asymmetric.

    `folders`: in which relative paths are looked for. What is measured already is kept, unless an encoder or the dataset
    changed. A network that cannot be exported, and a pair that cannot be measured, are counted in `intake`. Raises
    AskewError if a dataset, or what whitening needs, is not there, or the teacher cannot be exported.
    """
    datasets = [_located(table, place.data) for table in experiment.datasets]
    encoders = Encoders(place, located_whitening(experiment.whitening, folders), say)
    teacher = encoders.teacher()
    pairs = [_Pair(TEACHER, "symmetric", teacher, teacher)]
    for record in records:
        if record.state == "done" and record.stage != "tuning":
            pairs += _pairs_of(record, encoders, teacher, intake)
    measured: list[Measured] = []
    for number, pair in enumerate(pairs, start=1):
        for table in datasets:
            folder = place.out / "measurements" / f"{pair.cell}.{pair.testing}" / _name_of(table)
            reason = _measure(pair, table, folder, place, lambda number=number, pair=pair: say(  # type: ignore[misc]
                f"[{number}/{len(pairs)}] measuring {pair.cell}, {pair.testing}"
            ))  # fmt: skip
            if reason:
                intake.skip(f"{pair.cell}, {pair.testing}, {_name_of(table)}", "pairs that cannot be measured", reason)
                continue
            files = sorted(folder.glob("*.json"))
            measured += [Measured(pair.cell, pair.testing, read_measurement(path)) for path in files]
    return measured


def say_what_is_absent(
    experiment: Experiment, place: Workplace, folders: Sequence[Path], say: Callable[[str], None]
) -> None:
    """Name what the measurements will need, and is not there yet, before a training that may take weeks."""
    looks: list[Callable[[], object]] = [lambda: located_whitening(experiment.whitening, folders)]
    looks += [partial(_located, table, place.data) for table in experiment.datasets]
    for look in looks:
        try:
            look()
        except DataError as error:
            say(f"{error} The training begins without it.")


def _pairs_of(record: CellRecord, encoders: Encoders, teacher: Path, intake: Intake) -> list[_Pair]:
    """A student's queries to its teacher's gallery, and each network on both sides."""
    pairs = []
    for testing in _KINDS:
        try:
            if testing == "asymmetric" and not encoders.has_asymmetric(record.name):
                continue
            encoder = encoders.of_cell(record.name, testing)
        except AskewError as error:
            intake.skip(f"{record.name}, {testing}", "networks that cannot be exported", str(error))
            continue
        pairs.append(_Pair(record.name, testing, encoder, teacher if testing == "asymmetric" else encoder))
    return pairs


def _measure(pair: _Pair, table: DatasetTable, folder: Path, place: Workplace, on_start: Callable[[], None]) -> str:
    """Measure a pair on a dataset into a folder, unless that was done; why it failed, or ""."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (pair.queries, pair.gallery, *_truths(table))]
    made_by = {"digests": digests, "benchmarks": list(table.benchmarks)}
    with suppress(FileNotFoundError):
        (folder / FORMERLY_MEASURED).rename(folder / MEASURED)
    try:
        if json.loads((folder / MEASURED).read_bytes()) == made_by:
            return ""
    except (OSError, ValueError):
        pass
    on_start()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    sides = ["--queries", str(pair.queries), "--gallery", str(pair.gallery)]
    if table.manifest is not None:
        named = [part for name in table.benchmarks for part in ("--benchmark", name)]
        arguments = ["evaluate", *sides, "--manifest", str(table.manifest), *named]
    else:
        arguments = ["evaluate-revisited", "--dataset", str(table.revisited), "--root", str(table.root), *sides]
    arguments += ["--measurements", str(folder), "--cache", str(place.cache)]
    ended = run_command(arguments, place.out / "measurements" / "log.txt", place)
    if not ended.reason:
        write_atomically(folder / MEASURED, json.dumps(made_by).encode())
    return ended.reason


def _located(table: DatasetTable, folders: Sequence[Path]) -> DatasetTable:
    """A dataset with the paths that it has in the first folder that holds it. Raises DataError."""
    path = table.manifest or table.root
    assert path is not None
    found = next((folder / path for folder in folders if (folder / path).exists()), None)
    if found is None:
        raise DataError(
            f"The experiment measures on {path}, which is not in {folders[0]}. Name the folder that holds it with --data."
        )
    return table.model_copy(update={"manifest" if table.manifest else "root": found})


def _truths(table: DatasetTable) -> list[Path]:
    """The files that say what is right."""
    if table.manifest is not None:
        return [table.manifest]
    assert table.root is not None
    return sorted(path for suffix in ("pkl", "json") for path in table.root.rglob(f"gnd_{table.revisited}.{suffix}"))


def _name_of(table: DatasetTable) -> str:
    return table.revisited or (table.manifest.parent.name if table.manifest else "") or "manifest"
