"""Ground truths of the benchmark in its published layout, and vectors that rank a gallery in a given order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_training.evaluate.measurement import Side
from askew_training.evaluate.revisited.measuring import Conditions

BOX = [0.0, 0.0, 10.0, 10.0]


def truth_of(images: int, queries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "imlist": [f"arch_{row:06}" for row in range(images)],
        "qimlist": [f"arch_{images + row:06}" for row in range(len(queries))],
        "gnd": [{"bbx": BOX, **query} for query in queries],
    }


TOY = truth_of(
    8,
    [
        {"easy": [0, 1], "hard": [2], "junk": [3]},
        {"easy": [], "hard": [7, 2], "junk": [6]},
    ],
)
TOY_ORDERS = [[3, 0, 5, 1, 7, 2, 4, 6], [6, 2, 1, 0, 4, 7, 5, 3]]


def write_truth(folder: Path, truth: object, dataset: str = "roxford5k") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gnd_{dataset}.json"
    path.write_text(json.dumps(truth))
    return path


def vectors_with_scores(scores: NDArray[np.floating]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Queries [n, n] and gallery [m, n] whose inner products are exactly `scores` [n, m]."""
    return np.eye(len(scores), dtype=scores.dtype), np.ascontiguousarray(scores.T)


def scores_of(orders: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Scores that rank a gallery in these orders."""
    scores = np.empty((len(orders), len(orders[0])), dtype=np.float32)
    for row, order in zip(scores, orders, strict=True):
        row[list(order)] = -np.arange(len(order))
    return scores


def conditions(dataset: str = "roxford5k", **excluded: Sequence[str]) -> Conditions:
    side = Side(encoder="s@1", sha256="0" * 64, space_id="sp1-" + "0" * 32, dim=2, photo_size=1024, scales=(1.0,))
    return Conditions(dataset, side, side, {"crop": True}, excluded)
