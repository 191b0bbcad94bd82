"""The margin at which a chosen share of the mined negatives is pushed away before the first step.

A margin depends on the space: where unlike photos lie 1.3 apart, a margin of 0.7 reaches no negative at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.heads import apply_linear
from askew_training.heads.pooled import describe_pooled
from askew_training.losses.base import LossTable
from askew_training.train.mining import NONE
from askew_training.train.recipe import Recipe
from askew_training.train.run import Run, prepare
from askew_training.train.tuples import TupleMiner, VectorsOf

WIDEST = 4.0
"""No margin is larger: the squared distance of opposite vectors."""
STEPS = 40


def margins_for(recipe: Recipe, shares: Sequence[float], cache: Path, say: Callable[[str], None]) -> dict[float, float]:
    """The margin for each share of active negatives, with four digits, of a recipe's loss that has one.

    Tuples are mined as in the first epoch, but with the teacher's vectors on both sides: the space that a student moves
    towards. A network that learns without a teacher mines with its own vectors before its first step. A share that no margin
    reaches is left out, and `say` is told so. Raises what `prepare` raises.
    """
    run = prepare(recipe, cache, say)
    assert isinstance(run.source, TupleMiner)
    vectors = _vectors_of(run, cache)
    tuples = run.source.mine(0, vectors)
    is_negative = tuples.negatives != NONE
    anchors = vectors(tuples.queries.tolist())
    to_positives = np.einsum("qd,qd->q", anchors, vectors(tuples.positives.tolist()))
    to_negatives = np.stack(
        [anchors[row] @ vectors(np.maximum(negatives, 0).tolist()).T for row, negatives in enumerate(tuples.negatives)]
    )
    table = next(
        each
        for each in recipe.losses
        if getattr(each, "margin", None) is not None or "margin" in type(each).model_fields
    )
    found: dict[float, float] = {}
    for share in shares:
        try:
            found[share] = margin_of(table, share, to_positives, to_negatives, is_negative)
        except DataError as error:
            say(f"{recipe.name}: {error}")
    return found


def active_share(
    table: LossTable,
    margin: float,
    to_positives: NDArray[np.float32],
    to_negatives: NDArray[np.float32],
    is_negative: NDArray[np.bool_],
) -> float:
    """The share of negatives, bool [Q, K], that a loss with this margin pushes away, 0 to 1.

    `to_positives` [Q], `to_negatives` [Q, K]: similarities to the query.
    """
    loss = table.model_copy(update={"margin": margin}).build(_no_vectors, 0)
    above = loss.active_above(to_positives)
    assert above is not None
    return float((to_negatives > above)[is_negative].mean())


def margin_of(
    table: LossTable,
    share: float,
    to_positives: NDArray[np.float32],
    to_negatives: NDArray[np.float32],
    is_negative: NDArray[np.bool_],
) -> float:
    """By bisection: a wider margin has more active negatives, or fewer for margins that are similarities.

    Raises DataError if no margin has this share.
    """

    def share_at(margin: float) -> float:
        return active_share(table, margin, to_positives, to_negatives, is_negative)

    low, high = (-1.0, 1.0) if getattr(table, "form", "euclidean") == "similarity" else (0.0, WIDEST)
    grows = share_at(high) > share_at(low)
    most, least = max(share_at(low), share_at(high)), min(share_at(low), share_at(high))
    if not least <= share <= most:
        raise DataError(
            f"No margin of {table.name} has {100 * share:.0f} % of the mined negatives active: from {low:g} to {high:g} they are "  # type: ignore[attr-defined]
            f"{100 * least:.0f} to {100 * most:.0f} %. This share is not tried."
        )
    for _ in range(STEPS):
        middle = (low + high) / 2
        if (share_at(middle) < share) == grows:
            low = middle
        else:
            high = middle
    return float(f"{high:.4g}")


def _vectors_of(run: Run, cache: Path) -> VectorsOf:
    """The teacher's vectors of training photos by index; without a teacher, the network's own before its first step."""
    if run.targets is not None:
        return run.targets.vectors
    network = run.network
    assert network.linear is not None
    paths = [photo.path for photo in run.training.photos]
    pooled = describe_pooled(network, run.recipe.batches.photo_size, paths, cache, lambda: None).vectors
    some = next(iter(pooled.values()))
    # A photo that cannot be read has the vector 0, as when training mines.
    described = apply_linear(network.linear, np.stack([pooled.get(path, np.zeros_like(some)) for path in paths]))
    described[[index for index, path in enumerate(paths) if path not in pooled]] = 0
    return lambda photos: described[np.asarray(photos, dtype=np.int64)]


def _no_vectors() -> NDArray[np.float32]:
    raise AssertionError("a loss with a margin learns nothing from the teacher's vectors")
