"""Reports of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.benchmark import BenchmarkScores
from askew_training.evaluate.ranking import rank_scores
from askew_training.evaluate.report import Report, manifest_metrics
from tests.support.training_helpers import SPACE


def test_figures_of_a_report_go_into_a_manifest(tmp_path: Path) -> None:
    gallery = np.eye(3, dtype=np.float32)
    # The first query finds its match first, the second one behind a distractor: (1 + (0 + 1/2) / 2) / 2.
    queries = np.array([[1, 0, 0], [0, 0.5, 0.6]], dtype=np.float32)
    scores = BenchmarkScores("walls", 3, rank_scores(queries, gallery, ["a", "b"], ["a", "b", ""], ["north", "north"]))
    path = tmp_path / "report.json"
    path.write_text(Report("student@1", "teacher@1", SPACE, (scores,)).to_json())
    assert json.loads(path.read_text())["kind"] == "asymmetric"
    figures = manifest_metrics([path])
    assert figures["asymmetric.walls.together.mAP"] == 0.625
    assert figures["asymmetric.queries"] == "student@1"
    path.write_text("{}")
    with pytest.raises(DataError, match="is not a report"):
        manifest_metrics([path])
