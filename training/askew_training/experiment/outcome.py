"""How a cell ended, as its record and in words."""

from __future__ import annotations

import json
from pathlib import Path

from askew_training.experiment.cells import CellFolder, CellRecord
from askew_training.experiment.child import Ended
from askew_training.train.run_log import LINES


def record_of(folder: CellFolder, ended: Ended, code: str) -> CellRecord:
    """The record of a cell that has ended. `code`: version and commit."""
    cell = folder.cell
    last = None if ended.reason else _last_validation(folder.run)
    return CellRecord(
        name=cell.name,
        stage=cell.stage,
        recipe=cell.recipe,
        recipe_sha256=cell.digest,
        seed=cell.seed,
        settings=dict(cell.settings),
        state="failed" if ended.reason else "done",
        reason=ended.reason,
        score=last and float(last["mAP"]),
        symmetric=last and float(last["symmetric_mAP"]),
        steps=int(last["step"]) if last else 0,
        seconds=round(ended.seconds, 1),
        code=code,
        command=ended.command,
    )


def in_words(record: CellRecord) -> str:
    """The end of a cell, for the terminal."""
    if record.state == "failed":
        return f"failed: {record.reason}"
    score = "" if record.score is None else f"held-out mAP {record.score:.3f} (symmetric {record.symmetric:.3f}), "
    return f"{score}{record.seconds / 60:.1f} minutes"


def settings_in_words(settings: dict[str, float]) -> str:
    """What tuning chose, for the terminal."""
    words = f"{settings['rate']:.3g} × the recipe's learning rate"
    if "margin" in settings:
        words += f" and a margin of {settings['margin']:g} ({100 * settings['active_negatives']:.0f} % of the negatives active)"
    return words


def _last_validation(run: Path) -> dict[str, float] | None:
    """The last line of kind `validation` in a run's log."""
    try:
        lines = [json.loads(line) for line in (run / LINES).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return None
    found = [line for line in lines if line["kind"] == "validation"]
    return found[-1] if found else None
