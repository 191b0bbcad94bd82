from __future__ import annotations

import pytest

from askew_training.errors import DataError
from askew_training.evaluate.comparison.labels import encoder_labels
from askew_training.evaluate.comparison.matrix import matrix_of
from askew_training.evaluate.comparison.pairs import pairs_of
from tests.training.evaluate.measurements import SPACE, measurement, side

QUERIES = {"arch": [0.5, 0.7], "tower": [0.2]}
SETS = {"arch": "north", "tower": "south"}


def test_every_pair_is_a_row_and_every_set_and_protocol_a_column() -> None:
    measured = [
        measurement(QUERIES, queries=name, sets=SETS, protocol=protocol)
        for name in ("teacher", "small", "smaller")
        for protocol in ("medium", "hard")
    ]
    matrix = matrix_of(measured)
    assert [row.label for row in matrix.rows] == [
        "teacher@1 → teacher@1",
        "small@1 → teacher@1",
        "smaller@1 → teacher@1",
    ]
    assert [row.kind for row in matrix.rows] == ["symmetric", "asymmetric", "asymmetric"]
    assert [(each.protocol, each.set_name, each.queries, each.instances) for each in matrix.columns] == [
        ("medium", "together", 3, 2),
        ("medium", "north", 2, 1),
        ("medium", "south", 1, 1),
        ("hard", "together", 3, 2),
        ("hard", "north", 2, 1),
        ("hard", "south", 1, 1),
    ]
    assert len(matrix.measured) == 18
    assert matrix.measured[1, 1].mean_average_precision == pytest.approx(0.6)
    assert matrix.row_of_each == [0, 0, 1, 1, 2, 2]


def test_a_single_set_is_no_column_of_its_own() -> None:
    assert [each.set_name for each in matrix_of([measurement(QUERIES)]).columns] == ["together"]


def test_a_method_is_a_row_and_what_all_share_belongs_to_the_column() -> None:
    plain, expanded = (
        measurement(QUERIES).model_copy(update={"settings": settings})
        for settings in ({"crop": True}, {"crop": True, "expansion": "alpha", "n": 10.0})
    )
    elsewhere = measurement(QUERIES, dataset="walks")
    matrix = matrix_of([plain, expanded, elsewhere])
    assert [row.label for row in matrix.rows] == [
        "student@1 → teacher@1",
        "student@1 → teacher@1 [expansion alpha, n 10]",
    ]
    assert [each.settings for each in matrix.columns] == [{"crop": True}, {}]
    assert sorted(matrix.measured) == [(0, 0), (0, 1), (1, 0)]


def test_a_pair_of_two_spaces_is_marked_even_if_it_is_alone() -> None:
    foreign = measurement(QUERIES).model_copy(update={"settings": {"foreign_space": True}})
    assert matrix_of([foreign]).rows[0].label == "student@1 → teacher@1 [foreign space]"


def test_galleries_of_different_sizes_are_not_put_into_one_column() -> None:
    larger = measurement(QUERIES, queries="other").model_copy(update={"gallery_photos": 1020, "distractors": 1000})
    matrix = matrix_of([measurement(QUERIES), larger])
    assert [(each.gallery_photos, each.distractors) for each in matrix.columns] == [(20, 0), (1020, 1000)]
    assert sorted(matrix.measured) == [(0, 0), (1, 1)]


def test_two_measurements_of_the_same_thing_must_agree() -> None:
    assert len(matrix_of([measurement(QUERIES), measurement(QUERIES)]).measured) == 1
    with pytest.raises(DataError, match="two different measurements of student@1 → teacher@1 on walls"):
        matrix_of([measurement(QUERIES), measurement({"arch": [0.1]})])


def test_a_measurement_without_a_counted_query_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"student@1 on walls \(instances\) has no query with a positive"):
        matrix_of([measurement({"arch": [None]})])


def test_files_of_one_name_are_told_apart_by_their_digest() -> None:
    one, other = side("student"), side("student").model_copy(update={"sha256": "ab" * 32})
    assert encoder_labels([one, other, side("teacher")]) == [
        f"student@1 ({one.sha256[:8]})",
        "student@1 (abababab)",
        "teacher@1",
    ]


def test_a_baseline_is_found_by_pair_or_by_encoder() -> None:
    matrix = matrix_of([measurement(QUERIES, queries=name) for name in ("teacher", "small")])
    assert matrix.row_of("small@1 → teacher@1") == matrix.row_of("small@1") == 1
    with pytest.raises(DataError, match=r"got 'large'.* 'teacher@1 → teacher@1', 'small@1 → teacher@1'"):
        matrix.row_of("large")


def test_encoders_of_two_spaces_are_skipped_with_a_reason() -> None:
    teacher, student = side("teacher"), side("student")
    foreign, narrow = (
        side(name, space="sp1-" + "2" * 32, dim=dim) for name, dim in (("foreign", teacher.dim), ("narrow", 8))
    )
    pairs, skipped = pairs_of([teacher, student, foreign, narrow], [teacher], allow_foreign_space=False)
    assert [each.queries.encoder for each in pairs] == ["teacher@1", "student@1"]
    assert [each.queries for each in skipped] == ["foreign@1", "narrow@1"]
    assert SPACE in skipped[0].reason
    pairs, skipped = pairs_of([teacher, student, foreign, narrow], [teacher], allow_foreign_space=True)
    assert [each.is_foreign for each in pairs] == [False, False, True]
    assert skipped[0].reason == "vectors of 8 dimensions cannot be compared with vectors of 64"


def test_no_pair_of_one_space_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="--allow-foreign-space"):
        pairs_of([side("foreign", space="sp1-" + "2" * 32)], [side("teacher")], allow_foreign_space=False)
