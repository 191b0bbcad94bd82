from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.evaluate.comparison.gathering import observe
from askew_training.evaluate.comparison.pairs import Pair
from askew_training.evaluate.measurement import Side
from askew_training.evaluate.ranking import rank_scores
from tests.support.training_helpers import unit_vectors
from tests.training.evaluate.measurements import side

TEACHER, STUDENT = side("teacher", dim=8), side("student", dim=8)
SYMMETRIC, ASYMMETRIC = Pair(TEACHER, TEACHER, False), Pair(STUDENT, TEACHER, False)


def photo(name: str, instance: str, role: str, set_name: str = "north") -> Photo:
    return Photo(Path(name), instance, role, "walls", set_name, name)


PHOTOS = [
    *(photo(f"q{i}", f"i{i % 4}", "query", "north" if i < 5 else "south") for i in range(9)),
    photo("alone", "nobody", "query"),
    photo("nameless", "", "query"),
    *(photo(f"g{i}", f"i{i % 5}" if i % 3 else "", "gallery") for i in range(25)),
    # A query that is in its gallery, too.
    photo("q0", "i0", "gallery"),
]


def describe(encoder: Side, role: str, photos: Sequence[Photo]) -> NDArray[np.float32]:
    vectors = unit_vectors(len(photos), 8, seed=1 if role == "query" else 2)
    if encoder is STUDENT:
        vectors = vectors + 0.4 * unit_vectors(len(photos), 8, seed=3)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[2] = np.nan
    return np.asarray(vectors, np.float32)


def test_a_pair_is_measured_as_askew_evaluate_does() -> None:
    queries = [each for each in PHOTOS if each.role == "query"]
    gallery = [each for each in PHOTOS if each.role == "gallery"]
    for pair, observed in zip(
        (SYMMETRIC, ASYMMETRIC), observe(PHOTOS, "walls", [SYMMETRIC, ASYMMETRIC], describe), strict=True
    ):
        expected = rank_scores(
            describe(pair.queries, "query", queries),
            describe(pair.gallery, "gallery", gallery),
            [each.instance_id for each in queries],
            [each.instance_id for each in gallery],
            [each.set_name for each in queries],
            [25, *[-1] * 10],
        )
        for name, scores in expected.items():
            part = observed.measurement if name == "together" else observed.measurement.of_set(name)
            assert len(part.counted) == scores.queries
            assert part.mean_average_precision == pytest.approx(scores.mean_average_precision)
            assert part.mean_precision(1) == pytest.approx(scores.precision_at_1)


def test_what_does_not_count_is_named() -> None:
    (observed,) = observe(PHOTOS, "walls", [ASYMMETRIC], describe)
    assert observed.measurement.excluded == {
        "queries without a positive": ("alone", "nameless"),
        "queries that cannot be described": ("q2",),
    }
    assert (observed.measurement.gallery_photos, observed.measurement.kind) == (26, "asymmetric")
    unread = next(each for each in observed.measurement.results if each.id == "q2")
    assert (unread.average_precision, unread.first) == (0.0, ())


def test_the_first_photos_of_each_query_are_kept_with_what_they_are() -> None:
    (observed,) = observe(PHOTOS, "walls", [SYMMETRIC], describe)
    shown = {each.id: each.instance_id for each in PHOTOS if each.role == "gallery"}
    for query in observed.measurement.counted:
        scores = [found.score for found in query.first]
        assert scores == sorted(scores, reverse=True)
        assert len(query.first) == 10
        assert all((found.relevance == "right") == (shown[found.id] == query.instance) for found in query.first)
        assert query.id not in [found.id for found in query.first]


def test_a_student_is_compared_with_its_gallerys_encoder_and_a_teacher_with_nobody() -> None:
    symmetric, asymmetric = observe(PHOTOS, "walls", [SYMMETRIC, ASYMMETRIC], describe)
    assert symmetric.diagnosis is None
    assert symmetric.lost == ()
    assert asymmetric.diagnosis is not None
    assert asymmetric.diagnosis.photos == 10
    assert 0.8 < asymmetric.diagnosis.mean_cosine < 1
    assert "q2" in [loss.query.id for loss in asymmetric.lost]
    # The teacher's own measurement is made where nobody asked for it.
    assert observe(PHOTOS, "walls", [ASYMMETRIC], describe)[0].lost == asymmetric.lost


def test_each_encoder_describes_each_role_once() -> None:
    calls = []

    def counted(encoder: Side, role: str, photos: Sequence[Photo]) -> NDArray[np.float32]:
        calls.append((encoder.encoder, role))
        return describe(encoder, role, photos)

    observe(PHOTOS, "walls", [SYMMETRIC, ASYMMETRIC], counted)
    assert sorted(calls) == [("student@1", "query"), ("teacher@1", "gallery"), ("teacher@1", "query")]
