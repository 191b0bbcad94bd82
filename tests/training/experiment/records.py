"""Records of cells, without training."""

from __future__ import annotations

from askew_training.experiment.cells import CellRecord, Stage


def record_of(recipe: str, score: float | None, rate: float, stage: Stage = "tuning") -> CellRecord:
    return CellRecord(
        name=f"{recipe}.{stage}.{rate}",
        stage=stage,
        recipe=recipe,
        recipe_sha256="0" * 64,
        seed=0,
        settings={"rate": rate},
        state="failed" if score is None else "done",
        reason="it failed" if score is None else "",
        score=score,
        code="0",
        command=(),
    )
