"""A cell: one training run of an experiment, as a folder with its recipe, its log, its run, and at the end its record."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from askew_client.files import write_atomically
from askew_training.errors import DataError

Stage = Literal["start", "tuning", "final"]
RECIPE, RECORD, LOG, RUN = "recipe.toml", "record.json", "log.txt", "run"


@dataclass(frozen=True)
class Cell:
    """What is trained: the `text` of its whole recipe. `recipe`: the stem of the recipe that it was made from.

    `settings`: what was changed in it, for tables: `rate`, and where the loss has one, `margin` and `active_negatives`.
    """

    name: str
    stage: Stage
    recipe: str
    seed: int
    text: str
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of its recipe's text, 64 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class CellRecord(BaseModel):
    """How a cell ended. A cell that has none is not finished.

    `seconds`: of training, all parts of an interrupted run together. `code`: version and commit. `score`: the mean average
    precision on held-out instances as the network is used (asymmetric for a student), `symmetric`: if it describes both
    sides; None for a cell that failed, for the `reason` given. `command`: what was run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["askew-experiment-cell-1"] = "askew-experiment-cell-1"
    name: str
    stage: Stage
    recipe: str
    recipe_sha256: str
    seed: int
    settings: dict[str, float]
    state: Literal["done", "failed"]
    reason: str = ""
    score: float | None = None
    symmetric: float | None = None
    steps: int = 0
    seconds: float = 0.0
    code: str
    command: tuple[str, ...]


class CellFolder:
    """The folder of one cell in an experiment's folder."""

    def __init__(self, out: Path, cell: Cell) -> None:
        self.path = out / "cells" / cell.name
        self.cell = cell

    @property
    def run(self) -> Path:
        """The folder that `askew train` fills."""
        return self.path / RUN

    @property
    def checkpoint(self) -> Path:
        """The network after the last step."""
        return self.run / "last.pt"

    def record(self) -> CellRecord | None:
        """How the cell ended; None if it has not. Raises DataError for a damaged record."""
        path = self.path / RECORD
        try:
            return CellRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{path} is no record of a cell ({type(error).__name__}). Remove its folder to train it again."
            ) from None

    def is_of_another_recipe(self) -> bool:
        """Whether it was begun with another recipe than the cell's."""
        path = self.path / RECIPE
        return path.exists() and path.read_text(encoding="utf-8") != self.cell.text

    def begin(self) -> None:
        """Create it, with its recipe."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / RECIPE).exists():
            write_atomically(self.path / RECIPE, self.cell.text.encode())

    def finish(self, record: CellRecord) -> None:
        """Write its record, which makes it finished."""
        write_atomically(self.path / RECORD, record.model_dump_json(indent=1).encode() + b"\n")


def recipe_text(base: str, comment: str, changes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """The text of a recipe with some values replaced.

    `base`: the text that it is made from. `comment`: its first line. `changes`: new values, by table. `settings`: `seed`,
    `rate` (a factor of the learning rate), `margin` (of every loss that has one), `length` (a share of all steps).
    """
    content = tomllib.loads(base)
    for table, values in changes.items():
        content.setdefault(table, {}).update(values)
    if "checkpoint" in content.get("teacher", {}):
        # The experiment describes the photos once, for all of its recipes.
        content["teacher"] = {"vectors": "vectors"}
    content["seed"] = settings["seed"]
    optimiser = content["optimiser"]
    optimiser["learning_rate"] = float(f"{optimiser['learning_rate'] * settings.get('rate', 1.0):.4g}")
    if settings.get("margin") is not None:
        for loss in content["losses"]:
            if has_margin(loss):
                loss.pop("active_negatives", None)
                loss["margin"] = settings["margin"]
    _shorten(content, settings.get("length", 1.0))
    # The keys of the recipe itself must stand before its tables.
    first = {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    return f"# {comment}\n" + tomli_w.dumps({**first, **content})


def has_margin(loss: Mapping[str, Any]) -> bool:
    """Whether a loss of a recipe has a margin that separates negatives."""
    return loss["name"] in ("contrastive", "contrastive-plus", "triplet")


def _shorten(content: dict[str, Any], length: float) -> None:
    """Keep a share of the epochs; of the steps of each, if there are too few epochs."""
    if length == 1.0:
        return
    run = content["run"]
    epochs = max(1, round(run["epochs"] * length))
    rest = run["epochs"] * length / epochs
    run["epochs"] = epochs
    if rest < 1 and "steps_each_epoch" in run:
        run["steps_each_epoch"] = max(1, round(run["steps_each_epoch"] * rest))
    elif rest < 1 and "mining" in content:
        content["mining"]["queries"] = max(1, round(content["mining"]["queries"] * rest))
