from __future__ import annotations

import itertools

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.alignment.diagnosis import diagnose
from askew_training.evaluate.alignment.order import order_flips, overlap_at, rankings_of
from tests.support.training_helpers import unit_vectors


def test_a_student_that_is_its_teacher_is_aligned() -> None:
    vectors, gallery = unit_vectors(12, 8, 1), unit_vectors(40, 8, 2)
    found = diagnose(vectors, vectors, gallery)
    assert found.photos == 12
    assert found.mean_cosine == pytest.approx(1.0)
    assert found.low_cosine == pytest.approx(1.0)
    assert found.overlap == {1: 1.0, 10: 1.0}
    assert found.order_flips == 0.0
    assert found.flips_among == 40


def test_a_student_of_another_space_does_no_better_than_chance_and_one_turned_around_does_worse() -> None:
    vectors, gallery = unit_vectors(300, 32, 1), unit_vectors(400, 32, 2)
    foreign = diagnose(unit_vectors(300, 32, 3), vectors, gallery)
    assert foreign.mean_cosine == pytest.approx(0.0, abs=0.05)
    # 10 of 400 photos are in common with 10 others by chance in one case of 40.
    assert foreign.overlap[10] == pytest.approx(10 / 400, abs=0.01)
    assert foreign.order_flips == pytest.approx(0.5, abs=0.02)
    assert diagnose(-vectors, vectors, gallery).order_flips == 1.0


def test_order_flips_count_every_pair_once() -> None:
    teacher = np.array([[0.9, 0.8, 0.8, 0.5, 0.1]])
    student = np.array([[0.4, 0.7, 0.2, 0.4, 0.9]])
    # Of the teacher's first four, the pair (1, 2) is a tie and not counted. Of the five others, (0, 1) and (2, 3) are
    # turned around and (0, 3) is a tie of the student's.
    (share,) = order_flips(teacher, student, rankings_of(teacher), among=4)
    assert share == pytest.approx(2.5 / 5)


def test_order_flips_agree_with_a_plain_loop() -> None:
    random = np.random.default_rng(4)
    teacher, student = random.integers(0, 12, (2, 30, 20)) / 10
    shares = order_flips(teacher, student, rankings_of(teacher), among=7)
    for query, share in enumerate(shares):
        first = sorted(range(20), key=lambda row: (-teacher[query, row], row))[:7]
        flips = []
        for x, y in itertools.combinations(first, 2):
            by_teacher, by_student = teacher[query, x] - teacher[query, y], student[query, x] - student[query, y]
            if by_teacher:
                flips.append(0.5 if by_student == 0 else float(by_teacher * by_student < 0))
        assert share == pytest.approx(np.mean(flips) if flips else np.nan, nan_ok=True)


def test_overlap_is_the_share_in_common_in_whatever_order() -> None:
    first, second = np.array([[0, 1, 2, 3], [0, 1, 2, 3]]), np.array([[1, 0, 3, 2], [3, 2, 1, 0]])
    assert overlap_at(first, second, 1).tolist() == [0.0, 0.0]
    assert overlap_at(first, second, 2).tolist() == [1.0, 0.0]
    assert overlap_at(first, second, 3).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_photos_without_a_vector_and_a_photo_itself_do_not_count() -> None:
    vectors = unit_vectors(6, 8, 1)
    gallery = unit_vectors(20, 8, 2)
    plain = diagnose(vectors, vectors[::-1].copy(), gallery)
    student = np.vstack([vectors, np.full((1, 8), np.nan, np.float32)])
    teacher = np.vstack([vectors[::-1], vectors[:1]])
    itself = np.zeros((7, 22), dtype=np.bool_)
    itself[:, 20] = True
    extended = np.vstack([gallery, np.eye(8, dtype=np.float32)[:1], np.full((1, 8), np.nan, np.float32)])
    found = diagnose(student, teacher, extended, itself)
    assert found.photos == 6
    assert found.order_flips == plain.order_flips
    assert found.overlap == plain.overlap


def test_a_small_memory_changes_nothing() -> None:
    student, teacher, gallery = unit_vectors(9, 8, 1), unit_vectors(9, 8, 2), unit_vectors(20, 8, 3)
    assert diagnose(student, teacher, gallery, scores_at_once=1) == diagnose(student, teacher, gallery)


def test_vectors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="same dimension"):
        diagnose(unit_vectors(2, 8, 1), unit_vectors(2, 8, 1), unit_vectors(3, 4, 1))
    with pytest.raises(DataError, match="got none"):
        diagnose(np.full((2, 8), np.nan, np.float32), unit_vectors(2, 8, 1), unit_vectors(3, 8, 1))
