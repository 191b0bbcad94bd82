from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.evaluate.benchmark import Vectors, View
from askew_training.evaluate.comparison.gathering import Benchmark, Describe, Observed
from askew_training.evaluate.comparison.gathering import observe as observe_all
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


def rows(encoder: Side, role: str, count: int) -> NDArray[np.float32]:
    vectors = unit_vectors(count, 8, seed=1 if role == "query" else 2)
    if encoder is STUDENT:
        vectors = vectors + 0.4 * unit_vectors(count, 8, seed=3)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[2] = np.nan
    return np.asarray(vectors, np.float32)


def describe(encoder: Side, role: str, views: Sequence[View]) -> Vectors:
    described = zip(views, rows(encoder, role, len(views)), strict=True)
    return {view: vector for view, vector in described if np.isfinite(vector).all()}


def observe(pairs: Sequence[Pair], describing: Describe = describe, photos: Sequence[Photo] = PHOTOS) -> list[Observed]:
    return observe_all(Benchmark(photos, "walls", describing), pairs)


def test_a_pair_is_measured_as_askew_evaluate_does() -> None:
    queries = [each for each in PHOTOS if each.role == "query"]
    gallery = [each for each in PHOTOS if each.role == "gallery"]
    for pair, observed in zip((SYMMETRIC, ASYMMETRIC), observe([SYMMETRIC, ASYMMETRIC]), strict=True):
        expected = rank_scores(
            rows(pair.queries, "query", len(queries)),
            rows(pair.gallery, "gallery", len(gallery)),
            [each.instance_id for each in queries],
            [each.instance_id for each in gallery],
            [each.set_name for each in queries],
            [25, *[-1] * 10],
        )
        for name, scores in expected.items():
            part = observed.measurements[0] if name == "together" else observed.measurements[0].of_set(name)
            assert len(part.counted) == scores.queries
            assert part.mean_average_precision == pytest.approx(scores.mean_average_precision)
            assert part.mean_precision(1) == pytest.approx(scores.precision_at_1)


def test_what_does_not_count_is_named() -> None:
    (observed,) = observe([ASYMMETRIC])
    assert observed.measurements[0].excluded == {
        "queries that cannot be described, counted as finding nothing": ("q2",),
        "queries without positives": ("alone", "nameless"),
    }
    assert (observed.measurements[0].gallery_photos, observed.measurements[0].kind) == (26, "asymmetric")
    unread = next(each for each in observed.measurements[0].results if each.id == "q2")
    assert (unread.average_precision, unread.first) == (0.0, ())


def test_the_first_photos_of_each_query_are_kept_with_what_they_are() -> None:
    (observed,) = observe([SYMMETRIC])
    shown = {each.id: each.instance_id for each in PHOTOS if each.role == "gallery"}
    for query in observed.measurements[0].counted:
        scores = [found.score for found in query.first]
        assert scores == sorted(scores, reverse=True)
        assert len(query.first) == 10
        assert all((found.relevance == "right") == (shown[found.id] == query.instance) for found in query.first)
        assert query.id not in [found.id for found in query.first]


def test_a_student_is_compared_with_its_gallerys_encoder_and_a_teacher_with_nobody() -> None:
    symmetric, asymmetric = observe([SYMMETRIC, ASYMMETRIC])
    assert symmetric.diagnosis is None
    assert symmetric.lost == ()
    assert asymmetric.diagnosis is not None
    assert asymmetric.diagnosis.photos == 10
    assert 0.8 < asymmetric.diagnosis.mean_cosine < 1
    assert "q2" in [loss.query.id for loss in asymmetric.lost]
    # The teacher's own measurement is made where nobody asked for it.
    assert observe([ASYMMETRIC])[0].lost == asymmetric.lost


def test_each_encoder_describes_each_role_once() -> None:
    calls = []

    def counted(encoder: Side, role: str, views: Sequence[View]) -> Vectors:
        calls.append((encoder.encoder, role))
        return describe(encoder, role, views)

    observe([SYMMETRIC, ASYMMETRIC], counted)
    assert sorted(calls) == [("student@1", "query"), ("teacher@1", "gallery"), ("teacher@1", "query")]


def test_junk_counts_neither_as_a_match_nor_as_a_non_match() -> None:
    junk = replace(PHOTOS[11], junk_for=("i0",), instance_id="")
    photos = [*PHOTOS[:11], junk, *PHOTOS[12:]]
    plain, judged = observe([ASYMMETRIC])[0], observe([ASYMMETRIC], photos=photos)[0]
    # Seven queries of ten that can be described do not show i0; for the three that do, g0 was a non-match or a match.
    counts = [each.distribution.matches.sum() + each.distribution.non_matches.sum() for each in (plain, judged)]
    searching = sum(each.instance_id == "i0" for each in PHOTOS if each.role == "query")
    assert counts[0] - counts[1] == searching


def test_sets_of_two_definitions_are_two_measurements() -> None:
    photos = [replace(each, average_precision="standard") if each.set_name == "south" else each for each in PHOTOS]
    observed = observe([ASYMMETRIC], photos=photos)[0]
    assert [each.average_precision for each in observed.measurements] == ["trapezoid", "standard"]
    assert {each.set_name for each in observed.measurements[1].results} == {"south"}
