"""The batches of one epoch, and what each of them gives to the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from askew_training.data.batches import Batches
from askew_training.train.batch import Batch, Targets, batch_of
from askew_training.train.reader import LoadedBatch
from askew_training.train.tuples import TupleBatch, Tuples, VectorsOf, references_of


class Epoch(Protocol):
    """The batches of one epoch."""

    @property
    def draws(self) -> Batches:
        """The photos of each batch."""
        ...

    def batch(self, number: int, loaded: LoadedBatch, vectors: Tensor, views: Tensor | None) -> Batch | None:
        """What the losses read of batch `number`; None if there is nothing to learn from.

        `vectors`: float [n, D], of the photos of `loaded`, of which there is at least one. `views`: float [n, D], the
        teacher's vectors of the same views; None if it describes whole photos.
        """
        ...


@dataclass(frozen=True)
class PlannedEpoch:
    """An epoch whose anchors are compared with the other photos of their batch, or with their teacher's vectors.

    `instances`: int64 [N], the instance of each training photo. `labelled`: bool [N], whether it has a label.
    """

    draws: Batches
    instances: Tensor
    labelled: Tensor
    targets: Targets | None

    def batch(self, number: int, loaded: LoadedBatch, vectors: Tensor, views: Tensor | None) -> Batch:
        """See `Epoch`."""
        photos = loaded.photos
        return batch_of(
            vectors, photos, self.instances[photos], self.targets, labelled=self.labelled[photos], views=views
        )


@dataclass(frozen=True)
class MinedEpoch:
    """An epoch of mined tuples: queries are compared with the positives and negatives of their own tuple.

    `teacher`: gives the vectors of the references; None if the network describes them itself.
    """

    tuples: Tuples
    batches: Sequence[TupleBatch]
    instances: Tensor
    labelled: Tensor
    targets: Targets | None
    teacher: VectorsOf | None

    @property
    def draws(self) -> Batches:
        """See `Epoch`."""
        return [batch.draws for batch in self.batches]

    def batch(self, number: int, loaded: LoadedBatch, vectors: Tensor, views: Tensor | None) -> Batch | None:
        """See `Epoch`."""
        is_query, references = references_of(self.tuples, self.batches[number], loaded, vectors, self.teacher)
        queries = loaded.photos[is_query.cpu()]
        if not len(queries):
            return None
        of_queries = None if views is None else views[is_query]
        return batch_of(
            vectors[is_query],
            queries,
            self.instances[queries],
            self.targets,
            references,
            self.labelled[queries],
            of_queries,
        )
