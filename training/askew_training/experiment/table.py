"""The table of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from askew_training.experiment.cells import CellRecord
from askew_training.experiment.plan import Experiment
from askew_training.experiment.results import Measured


class ResultTable(BaseModel):
    cells: tuple[CellRecord, ...]

    def to_markdown(self) -> str:
        return ""


def write_table(
    experiment: Experiment, digest: str, out: Path, records: Sequence[CellRecord], measured: Sequence[Measured]
) -> ResultTable:
    return ResultTable(cells=tuple(records))
