"""Measuring the networks of an experiment on its datasets: once, after all training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from askew_client.cli.taken import Intake
from askew_training.evaluate.measurement import Measurement
from askew_training.experiment.cells import CellRecord
from askew_training.experiment.plan import Experiment, Kind
from askew_training.experiment.workplace import Workplace


@dataclass(frozen=True)
class Measured:
    """A measurement of one cell's network. `cell`: its name, or "teacher"."""

    cell: str
    testing: Kind
    measurement: Measurement


def measure_all(
    experiment: Experiment, place: Workplace, records: Sequence[CellRecord], intake: Intake, say: Callable[[str], None]
) -> list[Measured]:
    return []
