"""The figures of the gate are those of comparing everything with everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_server.encoders.alignment import GateProbe, Hits, measure_alignment


@pytest.mark.parametrize("are_items", [False, True])
def test_the_figures_are_those_of_the_whole_matrix_and_the_index_is_asked_in_small_steps(are_items: bool) -> None:
    random = np.random.default_rng(5)
    items = _unit(random.standard_normal((300, 16)))
    # Two items that the teacher cannot tell apart.
    items[7] = items[3]
    vectors = items[:20] if are_items else _unit(random.standard_normal((20, 16)))
    candidate = _unit(vectors + 0.6 * random.standard_normal(vectors.shape) / 4)
    asked = []

    def nearest(queries: NDArray[np.float32], limit: int) -> Hits:
        asked.append((len(queries), limit))
        scores = queries.astype(np.float64) @ items.T
        order = np.argsort(-scores, axis=1)[:, :limit]
        return Hits([[(str(i), float(row[i])) for i in best] for row, best in zip(scores, order, strict=True)], True)

    probes = [GateProbe(Path("x"), vector, str(i) if are_items else None) for i, vector in enumerate(vectors)]
    alignment = measure_alignment(probes, candidate, nearest, len(items))

    pool = items if are_items else np.concatenate([items, vectors])
    by_candidate, by_teacher = candidate @ pool.T, vectors @ pool.T
    same = by_teacher > 1 - 1e-4
    by_candidate[same], by_teacher[same] = -2, -2
    expected = [
        len(set(np.argsort(-a)[:10]) & set(np.argsort(-b)[:10])) / 10
        for a, b in zip(by_candidate, by_teacher, strict=True)
    ]
    own = (candidate * vectors).sum(axis=1)
    assert 0.3 < np.mean(expected) < 0.9
    assert alignment.recall[10] == pytest.approx(np.mean(expected))
    assert alignment.best_other == pytest.approx(by_candidate.max(axis=1), abs=1e-6)
    assert alignment.self_recall_at_1 == np.mean(own > by_candidate.max(axis=1))
    assert alignment.compared_items == (299 if are_items else 319)
    assert max(count for count, _ in asked) <= 8
    assert max(limit for _, limit in asked) < 20


def test_vectors_that_are_not_finite_agree_with_nothing() -> None:
    vectors = _unit(np.random.default_rng(6).standard_normal((12, 8)))
    probes = [GateProbe(Path("x"), vector, None) for vector in vectors]
    candidate = np.full_like(vectors, np.nan)
    alignment = measure_alignment(probes, candidate, lambda queries, _: Hits([[] for _ in queries], True), 0)
    assert alignment.self_recall_at_1 == 0
    assert np.all(alignment.own == 0)
    assert np.all(np.isfinite(alignment.best_other))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
