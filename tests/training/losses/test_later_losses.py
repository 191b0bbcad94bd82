"""The losses published after the paper: known values, slow re-derivations with gradients, corner cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from askew_training.losses.contextual_similarity import ContextualSimilarity, MemoryContextualSimilarity
from askew_training.losses.d3still import D3still
from askew_training.losses.prototype import Prototype, prototypes_of
from askew_training.losses.second_order import SecondOrderRegression
from askew_training.losses.structure_similarity import StructureSimilarity
from tests.support.training_helpers import EXAMPLES, gradient_of, unit_tensors

counts = st.integers(4, 8)


dims = st.sampled_from([2, 4, 6])


seeds = st.integers(0, 999)


def known_vectors() -> tuple[Tensor, Tensor]:
    random = np.random.RandomState(0)
    students, teachers = (torch.from_numpy(random.randn(6, 4)) for _ in range(2))
    return students / students.norm(dim=1, keepdim=True), teachers / teachers.norm(dim=1, keepdim=True)


def test_contextual_similarity_and_second_order_regression_have_known_values() -> None:
    students, teachers = known_vectors()
    assert ContextualSimilarity()(students, teachers).item() == pytest.approx(1.8579696, abs=1e-7)
    assert ContextualSimilarity(0.1, 0.1)(students, teachers).item() == pytest.approx(5.2961688, abs=1e-7)
    absolute = SecondOrderRegression(0, 0)(students, teachers).item()
    assert absolute == pytest.approx(1.0764470, abs=1e-7)
    assert SecondOrderRegression(1, 0)(students, teachers).item() - absolute == pytest.approx(0.4323412, abs=1e-7)
    # The published code's 1e-6 within the square, which the loss leaves out, would make 0.6986570 of it.
    assert SecondOrderRegression(0, 1)(students, teachers).item() - absolute == pytest.approx(0.6986568, abs=1e-7)


@pytest.mark.parametrize(
    ("neighbours", "whole", "hard", "easy"),
    [(4, 46.9775792, 0.7797056, 0.7224904), (6, 47.5325632, 0.9181132, 0.5854364)],
)
def test_d3still_has_the_values_of_the_published_code(neighbours, whole, hard, easy):
    students, teachers = known_vectors()
    assert D3still(neighbours)(students, teachers).item() == pytest.approx(whole, abs=1e-6)
    assert D3still(neighbours, 0, 1, 0)(students, teachers).item() == pytest.approx(hard, abs=1e-6)
    assert D3still(neighbours, 0, 0, 1)(students, teachers).item() == pytest.approx(easy, abs=1e-6)


def same_value_and_gradient(actual: Callable[[Tensor], Any], naive: Callable[[Tensor], Any], at: Tensor) -> None:
    """Both functions of a matrix give the same value, and by autograd the same gradient."""
    mine, other = at.clone().requires_grad_(), at.clone().requires_grad_()
    value, expected = actual(mine), naive(other)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradient_of(mine), gradient_of(other), rtol=1e-8, atol=1e-9)


def total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)


def naive_d3still(students: Tensor, teachers: Tensor, neighbours: int, alpha: float, beta: float, gamma: float):
    count = len(students)
    absolute = total([(1 - students[i] @ teachers[i]) ** 2 for i in range(count)]).sqrt() / count
    relational = []
    for i in range(count):
        others = sorted((j for j in range(count) if j != i), key=lambda j: -float(teachers[i] @ teachers[j]))
        squares: dict[str, list[Tensor]] = {"hard": [], "easy": []}
        for j in others[: neighbours - 1]:
            for k in others[: neighbours - 1]:
                wanted = teachers[i] @ teachers[j] - teachers[i] @ teachers[k]
                got = students[i] @ teachers[j] - students[i] @ teachers[k]
                if j != k:
                    kind = "easy" if (got > 0) == (wanted > 0) else "hard"
                    squares[kind].append(((got - wanted) / (0.1 + abs(wanted))) ** 2)
        hard, easy = (total(squares[kind]).sqrt() if squares[kind] else total([]) for kind in ("hard", "easy"))
        relational.append((beta * hard + gamma * easy) / (neighbours - 1))
    return alpha * absolute + total(relational) / count


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(counts, dims, st.integers(3, 8), seeds)
def test_d3still_equals_its_definition(count, dim, neighbours, seed):
    teachers, neighbours = unit_tensors(count, dim, seed), min(neighbours, count)
    same_value_and_gradient(
        lambda students: D3still(neighbours, 7, 5, 2)(students, teachers),
        lambda students: naive_d3still(students, teachers, neighbours, 7, 5, 2),
        unit_tensors(count, dim, seed + 1),
    )


def naive_divergence(targets: list[Tensor], logits: list[Tensor]) -> Tensor:
    """Σ p log(p / q), with p and q written out."""
    target_sum, sum_ = total([each.exp() for each in targets]), total([each.exp() for each in logits])
    return total(
        [
            (target.exp() / target_sum) * ((target.exp() / target_sum).log() - (logit.exp() / sum_).log())
            for target, logit in zip(targets, logits, strict=True)
        ]
    )


@settings(max_examples=EXAMPLES)
@given(counts, dims, st.one_of(st.none(), st.integers(2, 8)), st.floats(0.05, 1), st.floats(0.05, 1), seeds)
def test_contextual_similarity_equals_its_definition(
    count, dim, neighbours, teacher_temperature, student_temperature, seed
):
    teachers = unit_tensors(count, dim, seed)
    neighbours = neighbours and min(neighbours, count)

    def naive(students: Tensor) -> Any:
        rows = []
        for i in range(count):
            chosen = sorted(range(count), key=lambda j: -float(teachers[i] @ teachers[j]))[: neighbours or count]
            targets = [teachers[i] @ teachers[j] / teacher_temperature for j in chosen]
            rows.append(naive_divergence(targets, [students[i] @ teachers[j] / student_temperature for j in chosen]))
        return total(rows) / count

    loss = ContextualSimilarity(teacher_temperature, student_temperature, neighbours)
    same_value_and_gradient(lambda students: loss(students, teachers), naive, unit_tensors(count, dim, seed + 1))


@settings(max_examples=EXAMPLES)
@given(st.integers(1, 5), st.integers(2, 6), dims, st.floats(0.05, 1), st.floats(0.05, 1), seeds)
def test_memory_contextual_similarity_equals_its_definition(
    count, neighbours, dim, teacher_temperature, student_temperature, seed
):
    teachers = unit_tensors(count, dim, seed)
    memory = unit_tensors(count * neighbours, dim, seed + 2).reshape(count, neighbours, dim)

    def naive(students: Tensor) -> Any:
        rows = [
            naive_divergence(
                [teachers[i] @ each / teacher_temperature for each in memory[i]],
                [students[i] @ each / student_temperature for each in memory[i]],
            )
            for i in range(count)
        ]
        return total(rows) / count

    loss = MemoryContextualSimilarity(teacher_temperature, student_temperature)
    same_value_and_gradient(
        lambda students: loss(students, teachers, memory), naive, unit_tensors(count, dim, seed + 1)
    )


@settings(max_examples=EXAMPLES)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(2, 5), st.integers(2, 3), st.floats(1, 20), seeds)
def test_structure_similarity_equals_its_definition(count, subspaces, words, piece, sharpness, seed):
    dim = subspaces * piece
    teachers = unit_tensors(count, dim, seed)
    centroids = torch.from_numpy(np.random.default_rng(seed).normal(size=(subspaces, words, piece)))

    def logits(vector: Tensor, m: int) -> list[Tensor]:
        part = vector[m * piece : (m + 1) * piece]
        return [sharpness * (part / part.norm()) @ (word / word.norm()) for word in centroids[m]]

    def naive(students: Tensor) -> Any:
        terms = [
            naive_divergence(logits(teachers[i], m), logits(students[i], m))
            for i in range(count)
            for m in range(subspaces)
        ]
        return total(terms) / (count * subspaces)

    loss = StructureSimilarity(centroids, sharpness)
    same_value_and_gradient(lambda students: loss(students, teachers), naive, unit_tensors(count, dim, seed + 1))


@settings(max_examples=EXAMPLES)
@given(st.integers(2, 6), dims, st.floats(0, 2), st.floats(0, 2), seeds)
def test_second_order_regression_equals_its_definition(count, dim, cross_weight, student_weight, seed):
    teachers = unit_tensors(count, dim, seed)

    def naive(students: Tensor) -> Any:
        absolute = total([(1 - students[i] @ teachers[i]) ** 2 for i in range(count)]) / count
        pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
        cross = [(students[i] @ teachers[j] - teachers[i] @ teachers[j]) ** 2 for i, j in pairs]
        among = [(students[i] @ students[j] - teachers[i] @ teachers[j]) ** 2 for i, j in pairs]
        return absolute + (cross_weight * total(cross) + student_weight * total(among)) / len(pairs)

    loss = SecondOrderRegression(cross_weight, student_weight)
    same_value_and_gradient(lambda students: loss(students, teachers), naive, unit_tensors(count, dim, seed + 1))


@settings(max_examples=EXAMPLES)
@given(st.integers(1, 6), dims, st.integers(1, 4), st.floats(0.05, 1), seeds)
def test_prototype_equals_its_definition(count, dim, class_count, temperature, seed):
    prototypes = unit_tensors(class_count, dim, seed)
    classes = np.random.default_rng(seed).integers(-1, class_count, count)

    def naive(anchors: Tensor) -> Tensor:
        rows = []
        for anchor, own in zip(anchors, classes, strict=True):
            if own >= 0:
                logits = [anchor @ prototype / temperature for prototype in prototypes]
                rows.append(total([each.exp() for each in logits]).log() - logits[own])
        return (total(rows) + 0 * anchors.sum()) / max(1, len(rows))

    same_value_and_gradient(
        lambda anchors: Prototype(temperature)(anchors, prototypes, torch.from_numpy(classes)),
        naive,
        unit_tensors(count, dim, seed + 1),
    )


def distillers() -> list[nn.Module]:
    """All losses of a batch's students on its teachers, 0 where they are equal, for vectors of 6 dimensions."""
    return [
        D3still(4),
        ContextualSimilarity(0.1, 0.1),
        ContextualSimilarity(0.1, 0.1, 3),
        StructureSimilarity(torch.randn(3, 5, 2, dtype=torch.float64)),
        SecondOrderRegression(),
    ]


@pytest.mark.parametrize("loss", distillers(), ids=lambda loss: type(loss).__name__)
def test_distillation_is_0_only_where_students_equal_their_teachers(loss):
    teachers = unit_tensors(6, 6, 0)
    students = teachers.clone().requires_grad_()
    value = loss(students, teachers)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert bool(torch.isfinite(gradient_of(students)).all())
    for seed in range(1, 20):
        assert loss(unit_tensors(6, 6, seed), teachers).item() > 1e-3
        near = teachers + 0.05 * unit_tensors(6, 6, seed)
        assert loss(near / near.norm(dim=1, keepdim=True), teachers).item() > 1e-7


def test_memory_contextual_similarity_is_0_where_students_equal_their_teachers() -> None:
    teachers, memory = unit_tensors(3, 6, 0), unit_tensors(12, 6, 1).reshape(3, 4, 6)
    students = teachers.clone().requires_grad_()
    value = MemoryContextualSimilarity(0.1, 0.1)(students, teachers, memory)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(gradient_of(students), torch.zeros_like(students), rtol=0, atol=1e-12)


def test_a_student_is_pulled_beyond_a_teacher_of_lower_temperature() -> None:
    teachers = unit_tensors(6, 6, 0)
    students = teachers.clone().requires_grad_()
    value = ContextualSimilarity(0.01, 1.0)(students, teachers)
    value.backward()
    assert value.item() > 0.1
    assert float(gradient_of(students).norm()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [*distillers(), ContextualSimilarity()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("kind", ["equal", "all one photo", "two photos", "opposite", "orthogonal", "zeros in a piece"])
def test_values_and_gradients_are_finite_in_corner_cases(loss, kind, dtype):
    axes = torch.eye(6, dtype=dtype)
    students, teachers = {
        "equal": (axes, axes),
        "all one photo": (axes[:1].repeat(6, 1), axes[:1].repeat(6, 1)),
        "two photos": (axes[[0, 0, 0, 1, 1, 1]], axes[[0, 0, 0, 1, 1, 1]]),
        "opposite": (-axes, axes),
        "orthogonal": (axes, axes.roll(1, 0)),
        "zeros in a piece": (axes, unit_tensors(6, 6, 0).to(dtype)),
    }[kind]
    students = students.clone().requires_grad_()
    value = loss(students, teachers)
    value.backward()
    assert value.dtype == dtype
    assert value.item() >= 0 or value.item() == pytest.approx(0, abs=1e-6)
    assert math.isfinite(value.item()) and bool(torch.isfinite(gradient_of(students)).all())
    assert float(gradient_of(students).abs().max()) < 1e3


def test_d3still_leaves_out_the_photo_itself_even_if_the_batch_has_a_copy_of_it() -> None:
    teachers = unit_tensors(5, 6, 0)[[0, 0, 1, 2, 3, 4]]
    students = unit_tensors(6, 6, 1)
    loss = D3still(3, 0, 1, 1)
    # Photo 0's pair is its copy, photo 1, and the nearest third one: what the student makes of photo 0 itself is free.
    order = sorted(range(2, 6), key=lambda j: -float(teachers[0] @ teachers[j]))
    wanted = 1 - float(teachers[0] @ teachers[order[0]])
    got = float(students[0] @ teachers[1] - students[0] @ teachers[order[0]])
    expected = 2**0.5 * abs(got - wanted) / (0.1 + wanted) / 2
    alone = students.clone()
    alone[1:] = teachers[1:]
    rest = loss(torch.cat([teachers[:1], alone[1:]]), teachers).item()
    assert rest == pytest.approx(0, abs=1e-9)
    assert loss(alone, teachers).item() == pytest.approx(expected / 6)


def test_d3still_ignores_photos_that_are_equally_near_for_the_teacher() -> None:
    teachers = torch.eye(4, dtype=torch.float64)
    students = torch.tensor([[0.6, 0.8, 0, 0], *teachers[1:].tolist()], dtype=torch.float64, requires_grad=True)
    value = D3still(4, 0, 5, 1)(students, teachers)
    value.backward()
    assert value.item() == 0
    assert not bool(gradient_of(students).any())


def test_d3still_treats_equal_similarities_as_hard() -> None:
    teachers = torch.tensor([[1, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0]], dtype=torch.float64)
    students = teachers.clone()
    students[0] = torch.tensor([0, 0, 1])
    assert D3still(3, 0, 1, 0)(students, teachers).item() == pytest.approx(2**0.5 * 0.2 / 0.3 / 2 / 3)
    assert D3still(3, 0, 0, 1)(students, teachers).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("loss", "smallest"),
    [
        (D3still(), 10),
        (D3still(3), 3),
        (ContextualSimilarity(), 2),
        (ContextualSimilarity(neighbours=5), 5),
        (StructureSimilarity(torch.randn(3, 5, 2, dtype=torch.float64)), 1),
        (SecondOrderRegression(), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_a_batch_that_is_too_small_is_refused_with_a_sentence(loss, smallest):
    assert loss.smallest_batch == smallest
    students = unit_tensors(smallest, 6, 0)
    assert math.isfinite(loss(students, students.flip(0)))
    sentence = f"{type(loss).__name__} expects at least {smallest} photos in a batch, got {smallest - 1}"
    with pytest.raises(ValueError, match=sentence):
        loss(students[1:], students[1:])


def test_impossible_settings_and_shapes_are_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least 3 neighbours"):
        D3still(2)
    with pytest.raises(ValueError, match="at least 2 neighbours"):
        ContextualSimilarity(neighbours=1)
    with pytest.raises(ValueError, match="at least 2 neighbours of each photo, got 1"):
        MemoryContextualSimilarity()(unit_tensors(2, 4, 0), unit_tensors(2, 4, 1), unit_tensors(2, 4, 2)[:, None])
    with pytest.raises(ValueError, match=r"Expected centroids .* got \[4, 5\]"):
        StructureSimilarity(torch.ones(4, 5))
    with pytest.raises(ValueError, match=r"2 x 3 = 6 dimensions, and the vectors 8"):
        StructureSimilarity(torch.ones(2, 5, 3))(unit_tensors(2, 8, 0), unit_tensors(2, 8, 1))


def test_a_batch_without_labels_has_prototype_loss_and_gradient_0() -> None:
    anchors = unit_tensors(3, 4, 0).requires_grad_()
    value = Prototype()(anchors, unit_tensors(2, 4, 1), torch.full((3,), -1))
    value.backward()
    assert value.item() == 0
    assert not bool(gradient_of(anchors).any())


def test_photos_without_labels_change_no_prototype_loss() -> None:
    anchors, prototypes = unit_tensors(5, 4, 0), unit_tensors(3, 4, 1)
    labelled = Prototype()(anchors[:3], prototypes, torch.tensor([2, 0, 0]))
    mixed = Prototype()(anchors, prototypes, torch.tensor([2, 0, 0, -1, -1]))
    torch.testing.assert_close(mixed, labelled)


def test_prototypes_are_the_unit_mean_of_each_class() -> None:
    vectors = unit_tensors(6, 4, 0)
    prototypes = prototypes_of(vectors, torch.tensor([1, 0, -1, 1, 2, 1]))
    mean = vectors[[0, 3, 5]].mean(0)
    torch.testing.assert_close(prototypes, torch.stack([vectors[1], mean / mean.norm(), vectors[4]]))
    with pytest.raises(ValueError, match="class 1 has no photo"):
        prototypes_of(vectors[:2], torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="need labelled photos"):
        prototypes_of(vectors[:2], torch.tensor([-1, -1]))
