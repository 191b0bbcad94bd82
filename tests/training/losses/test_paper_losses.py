"""The other losses of Budnik & Avrithis (CVPR 2021): the published code, another library, re-derivations, corners."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from askew_training.losses.base import Loss
from askew_training.losses.contrastive import Contrastive
from askew_training.losses.contrastive_plus import ContrastivePlus
from askew_training.losses.dark_rank import DarkRank, Variant
from askew_training.losses.multi_similarity import MultiSimilarity
from askew_training.losses.regression import Regression
from askew_training.losses.relational import RelationalDistillation
from askew_training.losses.triplet import Triplet
from tests.support.paths import TRAINING_FIXTURES
from tests.support.training_helpers import EXAMPLES, gradient_of, unit_tensors

FIXTURES = TRAINING_FIXTURES
OFFICIAL = {**np.load(FIXTURES / "official_losses.npz"), **np.load(FIXTURES / "official_losses_paper.npz")}


def official(name: str) -> Tensor:
    return torch.from_numpy(OFFICIAL[name])


def tuples() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The published tuples as one batch: references of all tuples side by side, each anchor pairing with its own."""
    references = torch.cat([official("positive")[:, None], official("negatives")], 1)
    count, each, _ = references.shape
    mine = torch.eye(count, dtype=torch.bool).repeat_interleave(each, 1)
    is_positive = (torch.arange(each) < 1).repeat(count)
    anchors = official("anchor").requires_grad_()
    return anchors, references.flatten(0, 1), mine & is_positive, mine & ~is_positive


def random_pairs(count: int, others: int, dim: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kinds = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (count, others)))
    return unit_tensors(count, dim, seed), unit_tensors(others, dim, seed + 1), kinds == 1, kinds == 2


VARIANTS: tuple[Variant, ...] = ("hard", "soft")
PAIRS = (st.integers(1, 5), st.integers(1, 7), st.integers(2, 9), st.integers(0, 999))


# The published code


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("triplet_m0.1", Triplet(0.1, reduction="none")),
        ("triplet_m0.7", Triplet(reduction="none")),
        ("multi_similarity", MultiSimilarity(reduction="none")),
    ],
)
def test_losses_of_pairs_have_the_values_and_gradients_of_the_published_code(name, loss):
    anchors, references, positives, negatives = tuples()
    values = loss(anchors, references, positives, negatives)
    torch.testing.assert_close(values, official(name), rtol=1e-6, atol=1e-12)
    values.sum().backward()
    torch.testing.assert_close(gradient_of(anchors), official(f"{name}_grad_anchor"), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("margin", [0.7, 1.1])
def test_contrastive_plus_has_the_values_and_gradients_of_the_published_code(margin):
    anchors, references, positives, negatives = tuples()
    loss = ContrastivePlus(margin, reduction="none")
    values = loss(anchors, references, positives, negatives, official("teacher_anchor"))
    name = f"contrastive_plus_m{margin}"
    torch.testing.assert_close(values, official(name), rtol=1e-6, atol=1e-12)
    values.sum().backward()
    torch.testing.assert_close(gradient_of(anchors), official(f"{name}_grad_anchor"), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "loss"), [("rkd", RelationalDistillation()), ("darkrank_hard", DarkRank())])
def test_losses_of_relations_have_the_values_and_gradients_of_the_published_code(name, loss):
    students = official("batch_student").requires_grad_()
    value = loss(students, official("batch_teacher"))
    torch.testing.assert_close(value, official(name), rtol=1e-6, atol=1e-12)
    value.backward()
    torch.testing.assert_close(gradient_of(students), official(f"{name}_grad_student"), rtol=1e-6, atol=1e-9)


# Values worked out by hand


def known_tuple() -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    rows = torch.tensor([(1, 0.2, 0.1), (1, 0.1, 0.3), (1, 0.4, 0), (0.8, 0.6, 0.1), (0, 1, 0.5)], dtype=torch.float64)
    rows = rows / rows.norm(dim=1, keepdim=True)
    positives = torch.tensor([[True, False, False]])
    return (rows[:1], rows[2:], positives, ~positives), rows[1:2]


def test_losses_of_pairs_have_their_known_values() -> None:
    pairs, teacher = known_tuple()
    assert Contrastive()(*pairs).item() == pytest.approx(0.0551424, abs=1e-6)
    assert Contrastive(0.5, "similarity")(*pairs).item() == pytest.approx(-0.5755056, abs=1e-7)
    assert ContrastivePlus()(*pairs, teacher).item() == pytest.approx(0.0781340, abs=1e-6)
    assert Regression()(pairs[0], teacher).item() == pytest.approx(0.0229915, abs=1e-7)
    assert Triplet()(*pairs).item() == pytest.approx(0.5489888, abs=1e-7)
    assert Triplet(0.1)(*pairs).item() == 0
    assert MultiSimilarity()(*pairs).item() == pytest.approx(0.5655629, abs=1e-7)


def test_losses_of_relations_have_their_known_values() -> None:
    random = np.random.RandomState(0)
    students, teachers = (torch.from_numpy(random.randn(6, 4)) for _ in range(2))
    students, teachers = (each / each.norm(dim=1, keepdim=True) for each in (students, teachers))
    assert RelationalDistillation(1, 0)(students, teachers).item() == pytest.approx(0.1192473, abs=1e-7)
    assert RelationalDistillation(0, 1)(students, teachers).item() == pytest.approx(0.0936805, abs=1e-7)
    assert RelationalDistillation()(students, teachers).item() == pytest.approx(0.3066082, abs=1e-7)
    assert DarkRank()(students, teachers).item() == pytest.approx(18.3214277, abs=1e-6)


# Another library (pytorch-metric-learning), where it defines the same; imported late, because it imports SciPy.


def compare(ours: Tensor, theirs: Tensor, anchors: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    expected = torch.autograd.grad(theirs, anchors, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, anchors)[0], expected, rtol=1e-9, atol=1e-12)


def labelled() -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Anchors, references, masks, and the arguments by which the other library knows the same pairs."""
    labels, others = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 2, 3, 0])
    anchors, references = unit_tensors(5, 6, 0).requires_grad_(), unit_tensors(8, 6, 1)
    positives = labels[:, None] == others[None]
    return anchors, references, positives, ~positives, (labels, references, others)


@pytest.mark.slow
def test_contrastive_agrees_with_another_library() -> None:
    anchors, references, positives, negatives, (labels, _, others) = labelled()
    from pytorch_metric_learning import distances, losses, reducers

    # Its positives are [1 − s]₊ where ours are −s, and its Euclidean form does not square what is below the margin.
    unchanged = distances.DotProductSimilarity(normalize_embeddings=False)
    loss = losses.ContrastiveLoss(1, 0.3, distance=unchanged, reducer=reducers.SumReducer())
    theirs = loss(anchors, labels, ref_emb=references, ref_labels=others)
    ours = Contrastive(0.3, "similarity", reduction="sum")(anchors, references, positives, negatives)
    compare(ours + positives.sum(), theirs, anchors)
    squared = distances.LpDistance(normalize_embeddings=False, power=2)
    loss = losses.ContrastiveLoss(0, 0, distance=squared, reducer=reducers.SumReducer())
    theirs = loss(anchors, labels, ref_emb=references, ref_labels=others)
    nothing = torch.zeros_like(negatives)
    ours = Contrastive(epsilon=0, reduction="sum")(anchors, references, positives, nothing)
    compare(2 * ours, theirs, anchors)


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0.1, 0.7, 1.5])
def test_triplet_agrees_with_another_library(margin):
    anchors, references, positives, negatives, (labels, _, others) = labelled()
    from pytorch_metric_learning import distances, losses, reducers

    squared = distances.LpDistance(normalize_embeddings=False, power=2)
    loss = losses.TripletMarginLoss(margin, distance=squared, reducer=reducers.SumReducer())
    theirs = loss(anchors, labels, ref_emb=references, ref_labels=others)
    compare(Triplet(margin, reduction="sum")(anchors, references, positives, negatives), theirs, anchors)


def test_multi_similarity_agrees_with_another_library() -> None:
    anchors, references, positives, negatives, (labels, _, others) = labelled()
    from pytorch_metric_learning import distances, losses

    unchanged = distances.DotProductSimilarity(normalize_embeddings=False)
    loss = losses.MultiSimilarityLoss(2, 40, 0.5, distance=unchanged)
    theirs = loss(anchors, labels, ref_emb=references, ref_labels=others)
    compare(MultiSimilarity()(anchors, references, positives, negatives), theirs, anchors)


# Slow re-derivations


@settings(max_examples=EXAMPLES)
@given(*PAIRS, st.floats(0, 2))
def test_triplet_equals_its_definition(count, others, dim, seed, margin):
    anchors, references, positives, negatives = random_pairs(count, others, dim, seed)
    expected = []
    for i in range(count):
        total = 0.0
        for p in range(others):
            for n in range(others):
                if positives[i, p] and negatives[i, n]:
                    to_positive = float((anchors[i] - references[p]).norm())
                    to_negative = float((anchors[i] - references[n]).norm())
                    total += max(0.0, to_positive**2 - to_negative**2 + margin)
        expected.append(total)
    values = Triplet(margin, reduction="none")(anchors, references, positives, negatives)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=EXAMPLES)
@given(*PAIRS, st.floats(0.5, 50), st.floats(0.5, 50), st.floats(-1, 1))
def test_multi_similarity_equals_its_definition(count, others, dim, seed, alpha, beta, threshold):
    anchors, references, positives, negatives = random_pairs(count, others, dim, seed)
    expected = []
    for i in range(count):
        pull = push = 1.0
        for j in range(others):
            above = float(anchors[i] @ references[j]) - threshold
            pull += math.exp(-alpha * above) if positives[i, j] else 0.0
            push += math.exp(beta * above) if negatives[i, j] else 0.0
        expected.append(math.log(pull) / alpha + math.log(push) / beta)
    values = MultiSimilarity(alpha, beta, threshold, "none")(anchors, references, positives, negatives)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=EXAMPLES)
@given(*PAIRS, st.floats(0, 3))
def test_contrastive_plus_equals_contrastive_and_a_weighted_positive(count, others, dim, seed, weight):
    anchors, references, positives, negatives = random_pairs(count, others, dim, seed)
    teachers = unit_tensors(count, dim, seed + 2)
    own = {
        "euclidean": ((anchors - teachers + 1e-6).norm(dim=1) ** 2 / 2).numpy(),
        "similarity": -(anchors * teachers).sum(1).numpy(),
    }
    for form in ("euclidean", "similarity"):
        alone = Contrastive(0.9, form, reduction="none")(anchors, references, positives, negatives)
        loss = ContrastivePlus(0.9, form, weight=weight, reduction="none")
        values = loss(anchors, references, positives, negatives, teachers)
        np.testing.assert_allclose(values.numpy(), alone.numpy() + weight * own[form], rtol=1e-9, atol=1e-9)


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


@settings(max_examples=EXAMPLES)
@given(st.integers(3, 6), st.integers(2, 5), st.integers(2, 5), st.integers(0, 999))
def test_relational_distillation_equals_its_definition(count, dim, teacher_dim, seed):
    students, teachers = unit_tensors(count, dim, seed), unit_tensors(count, teacher_dim, seed + 1)

    def distance(vectors: Tensor, i: int, j: int) -> float:
        pairs = [float((vectors[a] - vectors[b]).norm()) for a in range(count) for b in range(count) if a != b]
        return float((vectors[i] - vectors[j]).norm()) / (sum(pairs) / len(pairs))

    def angle(vectors: Tensor, i: int, j: int, k: int) -> float:
        if i in (j, k):
            return 0.0
        one, other = vectors[j] - vectors[i], vectors[k] - vectors[i]
        return float(one @ other) / float(one.norm() * other.norm())

    each = range(count)
    by_distance = [huber(distance(students, i, j) - distance(teachers, i, j)) for i in each for j in each]
    by_angle = [huber(angle(students, i, j, k) - angle(teachers, i, j, k)) for i in each for j in each for k in each]
    expected = 0.5 * float(np.mean(by_distance)) + 3 * float(np.mean(by_angle))
    assert RelationalDistillation(0.5, 3)(students, teachers).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def log_probability(scores: list[float]) -> float:
    """Of drawing items in this order, each time in proportion to the exponentials of what is left."""
    return sum(math.log(math.exp(scores[i]) / sum(map(math.exp, scores[i:]))) for i in range(len(scores)))


@settings(max_examples=EXAMPLES)
@given(st.integers(2, 4), st.integers(1, 3), st.floats(0.5, 4), st.sampled_from([1, 2, 3]), st.integers(0, 999))
def test_dark_rank_equals_its_definition(length, more, alpha, beta, seed):
    count = length + more
    students, teachers = unit_tensors(count, 4, seed), unit_tensors(count, 5, seed + 1)
    hard, soft = [], []
    for q in range(count):
        mates = [x for x in range(count) if x != q]
        mates = sorted(mates, key=lambda x: float((teachers[q] - teachers[x]).norm()))[:length]
        of_student = {x: -alpha * float((students[q] - students[x]).norm()) ** beta for x in mates}
        of_teacher = {x: -alpha * float((teachers[q] - teachers[x]).norm()) ** beta for x in mates}
        hard.append(-log_probability([of_student[x] for x in mates]))
        total = 0.0
        for order in permutations(mates):
            student_log = log_probability([of_student[x] for x in order])
            teacher_log = log_probability([of_teacher[x] for x in order])
            total += math.exp(teacher_log) * (teacher_log - student_log)
        soft.append(total)
    for variant, expected in zip(VARIANTS, (hard, soft), strict=True):
        value = DarkRank(alpha, beta, length, variant)(students, teachers).item()
        assert value == pytest.approx(float(np.mean(expected)), rel=1e-9, abs=1e-12)


# What the losses promise


@pytest.mark.parametrize("loss", [RelationalDistillation(), DarkRank(variant="soft")])
def test_a_student_with_its_teachers_relations_has_nothing_to_learn(loss):
    """Also in a space that is turned: these losses alone do not let a student land in its teacher's space."""
    teachers = unit_tensors(6, 5, 0)
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).normal(size=(5, 5)))).Q
    students = (teachers @ turn).requires_grad_()
    value = loss(students, teachers)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(gradient_of(students), torch.zeros_like(students), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("loss", "smallest"),
    [(RelationalDistillation(), 3), (DarkRank(), 5), (DarkRank(length=2, variant="soft"), 3)],
)
def test_losses_of_relations_learn_from_their_smallest_batch_and_refuse_smaller_ones(loss, smallest):
    assert loss.smallest_batch == smallest
    students = unit_tensors(smallest, 4, 0).requires_grad_()
    loss(students, unit_tensors(smallest, 4, 1)).backward()
    assert bool(gradient_of(students).any())
    too_few = unit_tensors(smallest - 1, 4, 0)
    with pytest.raises(ValueError, match=f"at least {smallest} photos in a batch, got {smallest - 1}"):
        loss(too_few, too_few)


LOSSES_OF_PAIRS: list[Callable[..., Loss]] = [Triplet, MultiSimilarity, ContrastivePlus]


def inputs_of(loss: Loss, pairs: tuple[Tensor, Tensor, Tensor, Tensor], teachers: Tensor) -> list[Tensor]:
    named = dict(zip(("anchors", "references", "positives", "negatives"), pairs, strict=True), teachers=teachers)
    return [named[name] for name in loss.reads]


@pytest.mark.parametrize("kind", LOSSES_OF_PAIRS)
def test_reductions_are_over_the_values_of_the_anchors(kind):
    pairs, teachers = random_pairs(4, 6, 5, 3), unit_tensors(4, 5, 9)
    values = kind(reduction="none")(*inputs_of(kind(), pairs, teachers))
    assert values.shape == (4,)
    for reduction, expected in (("sum", values.sum()), ("mean", values.mean())):
        torch.testing.assert_close(kind(reduction=reduction)(*inputs_of(kind(), pairs, teachers)), expected)


@pytest.mark.parametrize("kind", LOSSES_OF_PAIRS)
@pytest.mark.parametrize("masks", [(True, False), (False, True), (False, False), (True, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_pairs_have_finite_gradients_at_identical_vectors_and_without_pairs(kind, masks, dtype):
    anchors = unit_tensors(3, 4, 0).to(dtype).requires_grad_()
    same = anchors.detach().clone()
    positives, negatives = (torch.full((3, 3), each) for each in masks)
    loss = kind()
    value = loss(*inputs_of(loss, (anchors, same, positives, negatives), same))
    value.backward()
    assert value.dtype == dtype and bool(value.isfinite())
    assert bool(gradient_of(anchors).isfinite().all())


@pytest.mark.parametrize("kind", [Triplet, MultiSimilarity])
def test_an_anchor_without_pairs_has_no_value_and_no_gradient(kind):
    anchors, references, positives, negatives = random_pairs(3, 8, 4, 0)
    positives[1], negatives[1] = False, False
    anchors.requires_grad_()
    values = kind(reduction="none")(anchors, references, positives, negatives)
    values.sum().backward()
    assert values[1] == 0 and bool((gradient_of(anchors)[1] == 0).all())
    assert bool((gradient_of(anchors)[0] != 0).any())


def test_multi_similarity_does_not_overflow_in_single_precision() -> None:
    """exp(40 · 3) is more than float32 holds."""
    anchors = unit_tensors(2, 4, 0).float().requires_grad_()
    negatives = torch.ones(2, 2, dtype=torch.bool)
    loss = MultiSimilarity(threshold=-2.0, reduction="none")
    values = loss(anchors, anchors.detach()[[0, 0]], ~negatives, negatives)
    values.sum().backward()
    assert values[0].item() == pytest.approx(3 + math.log(2) / 40, rel=1e-6)
    assert bool(gradient_of(anchors).isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        RelationalDistillation(),
        *(DarkRank(beta=beta, variant=variant) for beta in (0.5, 1, 3) for variant in VARIANTS),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_relations_have_moderate_gradients_at_identical_vectors(loss, dtype):
    """Two views of a photo have one teacher's vector; a collapsed student has one vector for everything."""
    teachers = unit_tensors(6, 4, 0)[[0, 0, 1, 2, 3, 4]].to(dtype)
    for rows in ([0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4], [0, 1, 1, 1, 2, 3], [0, 0, 0, 0, 0, 0]):
        students = unit_tensors(6, 4, 1)[rows].to(dtype).requires_grad_()
        # No NaN on the way either: what hides it differs from device to device.
        with torch.autograd.set_detect_anomaly(True):
            value = loss(students, teachers)
            value.backward()
        assert value.dtype == dtype and bool(value.isfinite())
        assert float(gradient_of(students).abs().max()) < 100


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 999))
def test_dark_rank_never_ranks_a_photo_among_its_own_neighbours(seed):
    """Nor if another one has the same teacher vector and would come before it."""
    teachers = unit_tensors(5, 4, seed)[[0, 1, 0, 2, 3]]
    students = unit_tensors(5, 4, seed + 1)
    expected = []
    for q in range(5):
        mates = sorted((x for x in range(5) if x != q), key=lambda x: float((teachers[q] - teachers[x]).norm()))
        expected.append(-log_probability([-3 * float((students[q] - students[x]).norm()) ** 3 for x in mates]))
    assert DarkRank()(students, teachers).item() == pytest.approx(float(np.mean(expected)), rel=1e-9)


# What mining logs of them


@pytest.mark.parametrize(
    "loss", [Contrastive(), Contrastive(1.1), Contrastive(form="similarity"), ContrastivePlus(0.9), Triplet(0.3)]
)
def test_a_negative_has_a_gradient_exactly_above_the_stated_similarity(loss: Loss) -> None:
    anchor = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    to_positive = 0.8
    above = loss.active_above(np.array([to_positive], dtype=np.float32))
    threshold = float(np.asarray(above).item())
    for similarity, is_active in ((threshold - 0.02, False), (threshold + 0.02, True)):
        angles = torch.acos(torch.tensor([to_positive, similarity], dtype=torch.float64))
        references = torch.stack([angles.cos(), angles.sin()], 1).requires_grad_()
        positives = torch.tensor([[True, False]])
        loss(*inputs_of(loss, (anchor, references, positives, ~positives), anchor)).backward()
        assert bool(gradient_of(references)[1].any()) == is_active


@pytest.mark.parametrize("loss", [MultiSimilarity(), Regression()])
def test_losses_that_push_every_negative_or_none_state_no_similarity(loss: Loss) -> None:
    assert loss.active_above(np.array([0.8], dtype=np.float32)) is None
