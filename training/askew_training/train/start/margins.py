"""Margins that are found in the space where a run begins, as `active_negatives` of its losses asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_training.data.batches import Batches, Plan
from askew_training.errors import DataError, RecipeError
from askew_training.heads import apply_linear
from askew_training.heads.pooled import describe_pooled
from askew_training.losses.base import LossTable, MarginTable
from askew_training.losses.margins import margin_of
from askew_training.networks.network import Network
from askew_training.train.mining import NONE
from askew_training.train.tuples import TupleMiner, VectorsOf

MOST_BATCHES = 16
"""Batches by instance that a margin is computed from: some ten thousand negatives."""

Table = TypeVar("Table", bound=LossTable)


@dataclass(frozen=True)
class Similarities:
    """Of queries to their positive, float32 [Q], and to photos of which some, bool [Q, K], are negatives: float32 [Q, K]."""

    to_positives: NDArray[np.float32]
    to_negatives: NDArray[np.float32]
    is_negative: NDArray[np.bool_]


def similarities_of(source: Plan | TupleMiner, instances: NDArray[np.int64], vectors: VectorsOf) -> Similarities:
    """The similarities in the first epoch, with `vectors` on both sides: the space that a student moves towards.

    Of mined tuples, or of the photos of a batch with each other. `instances`: int64 [N], of all photos. Raises DataError if
    no photo has a positive.
    """
    if isinstance(source, TupleMiner):
        tuples = source.mine(0, vectors)
        anchors = vectors(tuples.queries.tolist())
        to_positives = np.einsum("qd,qd->q", anchors, vectors(tuples.positives.tolist()))
        to_negatives = [
            anchors[row] @ vectors(np.maximum(negatives, 0).tolist()).T
            for row, negatives in enumerate(tuples.negatives)
        ]
        return Similarities(to_positives, np.stack(to_negatives), tuples.negatives != NONE)
    return _within_batches(source.epoch(0)[:MOST_BATCHES], instances, vectors)


def _within_batches(batches: Batches, instances: NDArray[np.int64], vectors: VectorsOf) -> Similarities:
    """Each pair of a photo and another one of its instance, with the photos of its batch that show something else."""
    width = max(len(batch) for batch in batches)
    to_positives, to_negatives, is_negative = [], [], []
    for batch in batches:
        photos = np.array([draw.photo for draw in batch])
        own = vectors(photos.tolist())
        similarity = own @ own.T
        same = instances[photos][:, None] == instances[photos][None]
        missing = width - len(batch)
        for row, column in np.argwhere(same & (photos[:, None] != photos[None])):
            to_positives.append(similarity[row, column])
            to_negatives.append(np.pad(similarity[row], (0, missing)))
            is_negative.append(np.pad(~same[row], (0, missing)))
    if not to_positives:
        raise DataError("A margin is computed from pairs of photos of one instance, but the first batches have none.")
    return Similarities(np.array(to_positives, np.float32), np.stack(to_negatives), np.stack(is_negative))


def with_margins(
    tables: Sequence[Table], similarities: Callable[[], Similarities], say: Callable[[str], None]
) -> tuple[Table, ...]:
    """Give each loss that asks for `active_negatives` its margin, and `say` which; `similarities` is called if any does.

    Raises RecipeError for a share that no margin has.
    """
    found: list[Table] = []
    known: Similarities | None = None
    for table in tables:
        if not isinstance(table, MarginTable) or table.active_negatives is None:
            found.append(table)
            continue
        known = known or similarities()
        share = table.active_negatives
        try:
            margin = margin_of(table, share, known.to_positives, known.to_negatives, known.is_negative)
        except DataError as error:
            raise RecipeError(str(error)) from None
        say(f"{table.name}: margin {margin:g}, at which {100 * share:.0f} % of the negatives are active.")  # type: ignore[attr-defined]
        found.append(table.with_margin(margin))
    return tuple(found)


def own_vectors(network: Network, photo_size: int, paths: Sequence[Path], cache: Path) -> VectorsOf:
    """A network's own vectors of photos by index, before its first step; the vector of a photo that cannot be read is 0."""
    pooled = describe_pooled(network, photo_size, paths, cache, lambda: None).vectors
    some = next(iter(pooled.values()))
    described = np.stack([pooled.get(path, np.zeros_like(some)) for path in paths])
    if network.linear is not None:
        described = apply_linear(network.linear, described)
        described[[index for index, path in enumerate(paths) if path not in pooled]] = 0
    return lambda photos: described[np.asarray(photos, dtype=np.int64)]
