"""Epochs of tuples: a query, its positive and its negatives, chosen anew for each epoch."""

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
from askew_training.train.batch import References
from askew_training.train.loss_tables import ContrastivePart, ContrastivePlusPart, LossPart, Side, TripletPart
from askew_training.train.mining import NONE, Rows, hard_negatives, random_negatives, ranked_pairs
from askew_training.train.reader import LoadedBatch
from askew_training.train.recipe_tables import MiningPart

Indices = NDArray[np.int64]
Described = Callable[[Sequence[int]], NDArray[np.float32]]
"""From photos, by their indices, to unit vectors, float32 [n, D]."""

MINING = 1
"""Keeps the draws of mining apart from those of batches, which come from (seed, epoch) too."""


@dataclass(frozen=True)
class Tuples:
    """The tuples of an epoch, as indices of photos.

    `queries`, `positives`: int64 [Q]; `negatives`: int64 [Q, K], `NONE` where there are fewer. `to_positives`, float32
    [Q], and `to_negatives`, float32 [Q, K], NaN where there is none: similarities at the time of the mining; None where
    nothing was described.
    """

    queries: Indices
    positives: Indices
    negatives: Indices
    to_positives: NDArray[np.float32] | None = None
    to_negatives: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TupleBatch:
    """One batch of tuples: what is read of it, and who each photo is to whom.

    `draws`: photos to read, queries only where the references are a teacher's vectors. `tuples`: the tuple of each
    draw, and `roles`: 0 for a query, 1 for a positive, 2 for a negative, int64 [draws] each.
    """

    draws: list[Draw]
    tuples: Indices
    roles: Indices


@dataclass(frozen=True)
class _Pool:
    """A pool of photos, as mining reads it: vectors come into memory as they are asked for."""

    photos: Indices
    vectors: Described

    def __len__(self) -> int:
        return len(self.photos)

    def rows(self, indices: Indices) -> NDArray[np.float32]:
        return self.vectors(self.photos[indices].tolist())


class TupleMiner:
    """Makes the tuples of each epoch: the same for the same seed, epoch and vectors."""

    def __init__(
        self,
        how: MiningPart,
        side: Side,
        pairs: PairedPhotos | None,
        clusters: Indices,
        teacher: Described | None,
        seed: int,
    ) -> None:
        """`clusters`: int64 [N], the cluster of each photo, one of its own for a photo without a label. `teacher`: the
        teacher's vectors, None where there are none. `pairs`: None where the teacher ranks."""
        self._how, self._side, self._pairs = how, side, pairs
        self._clusters, self._teacher, self._seed = clusters, teacher, seed
        if how.choose != "teacher-ranked" and len(np.unique(clusters)) < 2:
            raise DataError(
                "Negatives are photos of other clusters, and all photos are of one. Give photos of other things, "
                "labelled or not."
            )
        if how.choose == "teacher-ranked" and len(clusters) < 3:
            raise DataError(f"The teacher ranks a photo's neighbours: expected 3 photos or more, got {len(clusters)}.")

    @property
    def count(self) -> int:
        """Tuples in an epoch."""
        if self._how.choose != "teacher-ranked":
            return self._how.queries
        return min(self._how.queries, self._how.pool, len(self._clusters))

    def mine(self, epoch: int, described: Described) -> Tuples:
        """Choose the tuples of an epoch. `described`: vectors by the network as it is now."""
        random = np.random.default_rng((self._seed, epoch, MINING))
        count = len(self._clusters)
        pool = np.sort(random.choice(count, min(self._how.pool, count), replace=False))
        if self._how.choose == "teacher-ranked":
            return self._ranked(pool, random)
        assert self._pairs is not None
        queries, positives = self._pairs.draw(self._how.queries, random)
        if self._how.choose == "random":
            rows = random_negatives(self._clusters[queries], self._clusters[pool], self._how.negatives, random)
            return Tuples(queries, positives, _at(pool, rows))
        return self._hard(queries, positives, pool, described)

    def _hard(self, queries: Indices, positives: Indices, pool: Indices, described: Described) -> Tuples:
        if self._side == "teacher":
            assert self._teacher is not None
            anchors, references = described(queries.tolist()), self._teacher(positives.tolist())
            among: Rows = _Pool(pool, self._teacher)
        else:
            photos, places = np.unique(np.concatenate([queries, positives, pool]), return_inverse=True)
            vectors = described(photos.tolist())
            count = len(queries)
            anchors, references = vectors[places[:count]], vectors[places[count : 2 * count]]
            among = _Pool(places[2 * count :], lambda rows: vectors[rows])
        clusters = self._clusters
        rows, similarities = hard_negatives(anchors, clusters[queries], among, clusters[pool], self._how.negatives)
        to_positives = np.einsum("qd,qd->q", anchors, references)
        return Tuples(queries, positives, _at(pool, rows), to_positives, similarities)

    def _ranked(self, pool: Indices, random: np.random.Generator) -> Tuples:
        assert self._teacher is not None
        chosen = random.choice(len(pool), min(self._how.queries, len(pool)), replace=False)
        among = _Pool(pool, self._teacher)
        nearer, farther = ranked_pairs(among.rows(chosen), among, self._how.ranks, random)
        return Tuples(pool[chosen], pool[nearer], pool[farther][:, None])


def batches_of(
    tuples: Tuples, side: Side, shapes: Sequence[tuple[int, int]], size: int, seed: int, epoch: int
) -> list[TupleBatch]:
    """Put the tuples of an epoch into batches of `size`, those whose queries have one shape together."""
    plan = PhotoPlan([shapes[photo] for photo in tuples.queries], size, seed)
    return [_batch(tuples, side, [draw.photo for draw in batch]) for batch in plan.epoch(epoch)]


def _batch(tuples: Tuples, side: Side, numbers: list[int]) -> TupleBatch:
    draws: list[Draw] = []
    places: list[tuple[int, int]] = []
    seen: Counter[int] = Counter()
    for number in numbers:
        photos = [(int(tuples.queries[number]), 0)]
        if side == "student":
            photos.append((int(tuples.positives[number]), 1))
            photos += [(photo, 2) for photo in tuples.negatives[number].tolist() if photo != NONE]
        for photo, role in photos:
            draws.append(Draw(photo, seen[photo]))
            places.append((number, role))
            seen[photo] += 1
    of, roles = np.array(places, dtype=np.int64).T
    return TupleBatch(draws, of, roles)


def mining_statistics(tuples: Tuples, parts: Sequence[LossPart]) -> dict[str, float]:
    """What to log of an epoch's mining: mean similarities, and which share of the negatives a loss pushes away."""
    if tuples.to_positives is None or tuples.to_negatives is None or np.isnan(tuples.to_negatives).all():
        return {}
    statistics = {
        "positive_similarity": float(tuples.to_positives.mean()),
        "negative_similarity": float(np.nanmean(tuples.to_negatives)),
    }
    for part in parts:
        pushes_from = _pushes_from(part, tuples.to_positives)
        if pushes_from is not None:
            there = ~np.isnan(tuples.to_negatives)
            statistics[f"active_{part.name}"] = float((tuples.to_negatives > pushes_from)[there].mean())
    return statistics


def _pushes_from(part: LossPart, to_positives: NDArray[np.float32]) -> float | NDArray[np.float32] | None:
    """The similarity above which a negative has a gradient; None for a loss whose negatives always have one."""
    if isinstance(part, ContrastivePart | ContrastivePlusPart):
        if part.form == "similarity":
            return 0.755 if part.margin is None else part.margin
        return 1 - (0.7 if part.margin is None else part.margin) ** 2 / 2
    if isinstance(part, TripletPart):
        return to_positives[:, None] - part.margin / 2
    return None


def references_of(
    tuples: Tuples, batch: TupleBatch, loaded: LoadedBatch, vectors: Tensor, teacher: Described | None
) -> tuple[Tensor, References]:
    """The queries among the described photos of a batch, bool [n], and what they are compared with.

    `vectors`: float [n, D], of the photos that were read. With a `teacher` the references are its vectors, and all
    photos are queries; without one they are the other photos.
    """
    read = loaded.draws.numpy()
    of, roles = batch.tuples[read], batch.roles[read]
    if teacher is None:
        is_query = roles == 0
        mine = of[is_query][:, None] == of[~is_query][None]
        is_positive = mine & (roles[~is_query] == 1)
        references = vectors[torch.from_numpy(~is_query).to(vectors.device)]
        queries = torch.from_numpy(is_query).to(vectors.device)
        return queries, _references(references, is_positive, mine & ~is_positive)
    photos = np.concatenate([tuples.positives[of][:, None], tuples.negatives[of]], axis=1)
    count, each = photos.shape
    flat = photos.reshape(-1)
    mine = np.repeat(np.eye(count, dtype=np.bool_), each, axis=1)
    is_positive = np.tile(np.arange(each) == 0, count)
    references = torch.from_numpy(teacher(np.maximum(flat, 0).tolist())).to(vectors.device)
    queries = torch.ones(count, dtype=torch.bool, device=vectors.device)
    return queries, _references(references, mine & is_positive, mine & ~is_positive & (flat != NONE))


def _references(vectors: Tensor, positives: NDArray[np.bool_], negatives: NDArray[np.bool_]) -> References:
    device = vectors.device
    return References(vectors, torch.from_numpy(positives).to(device), torch.from_numpy(negatives).to(device))


def _at(pool: Indices, rows: Indices) -> Indices:
    """Indices of photos from rows of a pool."""
    return np.where(rows == NONE, NONE, pool[rows])
