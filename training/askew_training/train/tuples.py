"""Tuples of a query, its positive and its negatives, chosen again for each epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.data.batches import Draw, PhotoPlan
from askew_training.data.pairs import PairedPhotos
from askew_training.errors import DataError
from askew_training.losses.base import Side
from askew_training.train.batch import References
from askew_training.train.mining import NONE, hard_negatives, random_negatives, ranked_pairs
from askew_training.train.reader import LoadedBatch
from askew_training.train.recipe_tables import MiningTable
from askew_training.train.weighted_sum import WeightedSum
from askew_training.vectors.neighbours import Indices, Rows

VectorsOf = Callable[[Sequence[int]], NDArray[np.float32]]
"""From photos, by their indices, to unit vectors, float32 [n, D]."""

MINING = 1
"""Part of the seed of mining, so that its draws differ from those of batches, which also come from (seed, epoch)."""

QUERY, POSITIVE, NEGATIVE = 0, 1, 2
"""The roles of photos in a tuple."""


@dataclass(frozen=True)
class Tuples:
    """The tuples of an epoch, as indices of photos.

    `queries`, `positives`: int64 [Q]. `negatives`: int64 [Q, K], `NONE` if there are fewer. `to_positives`, float32 [Q],
    and `to_negatives`, float32 [Q, K], NaN for a missing negative: the similarities when they were mined; None if
    nothing was described.
    """

    queries: Indices
    positives: Indices
    negatives: Indices
    to_positives: NDArray[np.float32] | None = None
    to_negatives: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TupleBatch:
    """One batch of tuples.

    `draws`: the photos to read: only queries if the references are a teacher's vectors. `tuples`, `roles`: int64 [draws]
    each, the number of the tuple that each draw belongs to, and its role there: `QUERY`, `POSITIVE` or `NEGATIVE`.
    """

    draws: list[Draw]
    tuples: Indices
    roles: Indices


@dataclass(frozen=True)
class _Pool:
    """The photos of a pool, as `Rows`: vectors are read as they are needed."""

    photos: Indices
    vectors: VectorsOf

    def __len__(self) -> int:
        return len(self.photos)

    def rows(self, indices: Indices) -> NDArray[np.float32]:
        return self.vectors(self.photos[indices].tolist())


class TupleMiner:
    """Chooses the tuples of each epoch: always the same for the same seed, epoch and vectors."""

    def __init__(
        self,
        table: MiningTable,
        side: Side,
        pairs: PairedPhotos | None,
        clusters: Indices,
        teacher: VectorsOf | None,
        seed: int,
    ) -> None:
        """`clusters`: int64 [N], the cluster of each photo; a photo without a label has its own. `teacher`: the
        teacher's vectors, None without a teacher. `pairs`: None if the teacher ranks.

        Raises DataError if there are no negatives to choose from.
        """
        self._table, self._side, self._pairs = table, side, pairs
        self._clusters, self._teacher, self._seed = clusters, teacher, seed
        if table.choose != "teacher-ranked" and len(np.unique(clusters)) < 2:
            raise DataError(
                "Negatives are photos of other instances, but all photos are of one. Add photos of other things, "
                "labelled or not."
            )
        if table.choose == "teacher-ranked" and len(clusters) < 3:
            raise DataError(
                f"The teacher ranks the neighbours of a photo: expected 3 photos or more, got {len(clusters)}. Add photos."
            )

    @property
    def count(self) -> int:
        """The number of tuples in an epoch."""
        if self._table.choose != "teacher-ranked":
            return self._table.queries
        return min(self._table.queries, self._table.pool, len(self._clusters))

    def mine(self, epoch: int, describe: VectorsOf) -> Tuples:
        """Choose the tuples of an epoch. `describe`: the vectors of photos by the network as it is now."""
        random = np.random.default_rng((self._seed, epoch, MINING))
        count = len(self._clusters)
        pool = np.sort(random.choice(count, min(self._table.pool, count), replace=False))
        if self._table.choose == "teacher-ranked":
            return self._mine_ranked(pool, random)
        assert self._pairs is not None
        queries, positives = self._pairs.draw(self._table.queries, random)
        if self._table.choose == "random":
            rows = random_negatives(self._clusters[queries], self._clusters[pool], self._table.negatives, random)
            return Tuples(queries, positives, _photos_at(pool, rows))
        return self._mine_hard(queries, positives, pool, describe)

    def _mine_hard(self, queries: Indices, positives: Indices, pool: Indices, describe: VectorsOf) -> Tuples:
        candidates: Rows
        if self._side == "teacher":
            assert self._teacher is not None
            anchors, references = describe(queries.tolist()), self._teacher(positives.tolist())
            candidates = _Pool(pool, self._teacher)
        else:
            photos, places = np.unique(np.concatenate([queries, positives, pool]), return_inverse=True)
            vectors = describe(photos.tolist())
            count = len(queries)
            anchors, references = vectors[places[:count]], vectors[places[count : 2 * count]]
            candidates = _Pool(places[2 * count :], lambda rows: vectors[rows])
        clusters = self._clusters
        rows, similarities = hard_negatives(
            anchors, clusters[queries], candidates, clusters[pool], self._table.negatives
        )
        to_positives = np.einsum("qd,qd->q", anchors, references)
        return Tuples(queries, positives, _photos_at(pool, rows), to_positives, similarities)

    def _mine_ranked(self, pool: Indices, random: np.random.Generator) -> Tuples:
        assert self._teacher is not None
        chosen = random.choice(len(pool), min(self._table.queries, len(pool)), replace=False)
        candidates = _Pool(pool, self._teacher)
        nearer, farther = ranked_pairs(candidates.rows(chosen), candidates, self._table.ranks, random)
        return Tuples(pool[chosen], pool[nearer], pool[farther][:, None])


def tuple_batches(
    tuples: Tuples, side: Side, shapes: Sequence[tuple[int, int]], size: int, seed: int, epoch: int
) -> list[TupleBatch]:
    """Divide the tuples of an epoch into batches of `size`, those whose queries have one shape together."""
    plan = PhotoPlan([shapes[photo] for photo in tuples.queries], size, seed)
    return [_tuple_batch(tuples, side, [draw.photo for draw in batch]) for batch in plan.epoch(epoch)]


def _tuple_batch(tuples: Tuples, side: Side, numbers: list[int]) -> TupleBatch:
    draws: list[Draw] = []
    places: list[tuple[int, int]] = []
    views: Counter[int] = Counter()
    for number in numbers:
        photos = [(int(tuples.queries[number]), QUERY)]
        if side == "student":
            photos.append((int(tuples.positives[number]), POSITIVE))
            photos += [(photo, NEGATIVE) for photo in tuples.negatives[number].tolist() if photo != NONE]
        for photo, role in photos:
            draws.append(Draw(photo, views[photo]))
            places.append((number, role))
            views[photo] += 1
    tuple_numbers, roles = np.array(places, dtype=np.int64).T
    return TupleBatch(draws, tuple_numbers, roles)


def mining_statistics(tuples: Tuples, losses: WeightedSum) -> dict[str, float]:
    """Compute what to log of an epoch's mining: mean similarities, and for each loss the share of the negatives that it
    pushes away. Empty if nothing was described."""
    if tuples.to_positives is None or tuples.to_negatives is None or np.isnan(tuples.to_negatives).all():
        return {}
    statistics = {
        "positive_similarity": float(tuples.to_positives.mean()),
        "negative_similarity": float(np.nanmean(tuples.to_negatives)),
    }
    is_negative = ~np.isnan(tuples.to_negatives)
    for term in losses.terms:
        active_above = term.loss.active_above(tuples.to_positives)
        if active_above is not None:
            is_active = tuples.to_negatives > active_above
            statistics[f"active_{term.table.name}"] = float(is_active[is_negative].mean())
    return statistics


def references_of(
    tuples: Tuples, batch: TupleBatch, loaded: LoadedBatch, vectors: Tensor, teacher: VectorsOf | None
) -> tuple[Tensor, References]:
    """Find the queries among the photos of a batch, bool [n], and what they are compared with.

    `vectors`: float [n, D], of the photos that were read. With a `teacher`, the references are its vectors, and all
    photos are queries; without one, they are the other photos.
    """
    read = loaded.draws.numpy()
    numbers, roles = batch.tuples[read], batch.roles[read]
    if teacher is None:
        is_query = roles == QUERY
        same_tuple = numbers[is_query][:, None] == numbers[~is_query][None]
        is_positive = same_tuple & (roles[~is_query] == POSITIVE)
        references = vectors[torch.from_numpy(~is_query).to(vectors.device)]
        queries = torch.from_numpy(is_query).to(vectors.device)
        return queries, _references(references, is_positive, same_tuple & ~is_positive)
    photos = np.concatenate([tuples.positives[numbers][:, None], tuples.negatives[numbers]], axis=1)
    count, each = photos.shape
    flat = photos.reshape(-1)
    same_tuple = np.repeat(np.eye(count, dtype=np.bool_), each, axis=1)
    is_positive = np.tile(np.arange(each) == 0, count)
    references = torch.from_numpy(teacher(np.maximum(flat, 0).tolist())).to(vectors.device)
    queries = torch.ones(count, dtype=torch.bool, device=vectors.device)
    return queries, _references(references, same_tuple & is_positive, same_tuple & ~is_positive & (flat != NONE))


def _references(vectors: Tensor, positives: NDArray[np.bool_], negatives: NDArray[np.bool_]) -> References:
    device = vectors.device
    return References(vectors, torch.from_numpy(positives).to(device), torch.from_numpy(negatives).to(device))


def _photos_at(pool: Indices, rows: Indices) -> Indices:
    """Indices of photos, from rows of a pool."""
    return np.where(rows == NONE, NONE, pool[rows])
