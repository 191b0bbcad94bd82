"""What a step offers its losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from askew_training.train.loss_tables import Side


@dataclass(frozen=True)
class References:
    """What anchors are compared with: `vectors`, float [M, D]; `positives` and `negatives`, bool [B, M]."""

    vectors: Tensor
    positives: Tensor
    negatives: Tensor


@dataclass(frozen=True)
class Batch:
    """The vectors of one step and who belongs to whom.

    `anchors`: float [B, D], of the network that is trained. `teachers`: float [B, D], the teacher's vectors of the
    same photos, or None. `photos`, `instances`: int64 [B]; two views of one photo have one number, and so have two
    photos of one instance. A photo without a label is an instance of its own.

    `tuples`: the references of mined tuples; without them, anchors are compared with the batch itself.
    `neighbours`: float [B, K, D], the teacher's vectors nearest to each photo's. `prototypes`: float [C, D], and
    `classes`: int64 [B], each anchor's row among them, −1 without. None where no loss of the run reads them.
    """

    anchors: Tensor
    teachers: Tensor | None
    photos: Tensor
    instances: Tensor
    tuples: References | None = None
    neighbours: Tensor | None = None
    prototypes: Tensor | None = None
    classes: Tensor | None = None

    def inputs(self, reads: tuple[str, ...], side: Side | None) -> list[Tensor]:
        """The fields that a loss declares to read, in its order; `side` says whose vectors its pairs are made with."""
        fields = {
            "anchors": self.anchors,
            "teachers": self.teachers,
            "neighbours": self.neighbours,
            "prototypes": self.prototypes,
            "classes": self.classes,
        }
        if side is not None:
            pairs = self.tuples or self._in_batch(side)
            fields |= {"references": pairs.vectors, "positives": pairs.positives, "negatives": pairs.negatives}
        return [_there(name, fields[name]) for name in reads]

    def _in_batch(self, side: Side) -> References:
        """The batch itself as references: who is whose positive, who is whose negative.

        An anchor is no pair with itself. With references from the teacher, other views of its photo are none either:
        they all have the photo's one vector, and learning that is what regression does.
        """
        same_instance = self.instances[:, None] == self.instances[None]
        if side == "student":
            vectors = self.anchors
            itself = torch.eye(len(self.instances), dtype=torch.bool, device=self.instances.device)
        else:
            vectors = _there("teachers", self.teachers)
            itself = self.photos[:, None] == self.photos[None]
        return References(vectors, same_instance & ~itself, ~same_instance)


def _there(name: str, field: Tensor | None) -> Tensor:
    assert field is not None, f"a loss reads `{name}`, and this run has none"
    return field
