"""Whether a student lands in its teacher's space, measured as the server's gate does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_server.encoders import gate
from askew_server.encoders.alignment import GateProbe, Hits, measure_alignment
from askew_training.evaluate.alignment.landing import FLOORS, Landing, landing_of
from tests.support.training_helpers import unit_vectors


def test_its_figures_are_those_of_the_gate() -> None:
    teacher = unit_vectors(60, 8, 0)
    teacher[7] = teacher[3]
    student = teacher + 0.8 * unit_vectors(60, 8, 1)
    student /= np.linalg.norm(student, axis=1, keepdims=True)
    probes = [GateProbe(Path(str(number)), vector, None) for number, vector in enumerate(teacher)]
    found = measure_alignment(probes, student, lambda queries, _: Hits([[] for _ in queries], True), 0)
    landing = landing_of(student, teacher)
    assert landing.mean_cosine == pytest.approx(float(found.own.mean()), abs=1e-6)
    assert landing.self_recall == pytest.approx(found.self_recall_at_1)
    assert landing.recall_at_10 == pytest.approx(found.recall[10])
    assert 0.3 < landing.self_recall < 1


def test_its_floors_are_those_of_the_gate_and_what_is_near_them_is_said() -> None:
    assert FLOORS == {
        "mean_cosine": gate.MEAN_COSINE_FLOOR,
        "self_recall": gate.SELF_RECALL_FLOOR,
        "recall_at_10": gate.RECALL_AT_10_FLOOR,
    }
    assert not Landing(0.36, 0.61, 0.31).warnings()
    (warning,) = Landing(0.34, 0.61, None).warnings()
    assert "mean_cosine is 0.340" in warning and "needs 0.25" in warning
    assert landing_of(unit_vectors(8, 4, 0), unit_vectors(8, 4, 1)).recall_at_10 is None
