"""What a step offers its losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The vectors of one step and who belongs to whom.

    `anchors`: float [B, D], of the network that is trained. `teachers`: float [B, D], the teacher's vectors of the
    same photos, or None. `photos`, `instances`: int64 [B]; two views of one photo have one number, and so have two
    photos of one instance. A photo without a label is an instance of its own.
    """

    anchors: Tensor
    teachers: Tensor | None
    photos: Tensor
    instances: Tensor

    def inputs(self, reads: tuple[str, ...], references: Literal["teacher", "student"] | None) -> list[Tensor]:
        """The fields that a loss declares to read, in its order; `references` says whose vectors they are."""
        fields = {"anchors": self.anchors}
        if self.teachers is not None:
            fields["teachers"] = self.teachers
        if references is not None:
            fields["references"] = self.anchors if references == "student" else fields["teachers"]
            fields["positives"], fields["negatives"] = self._pairs(references)
        return [fields[name] for name in reads]

    def _pairs(self, references: Literal["teacher", "student"]) -> tuple[Tensor, Tensor]:
        """bool [B, B] each: who is whose positive, who is whose negative.

        An anchor is no pair with itself. With references from the teacher, other views of its photo are none either:
        they all have the photo's one vector, and learning that is what regression does.
        """
        same_instance = self.instances[:, None] == self.instances[None]
        if references == "student":
            itself = torch.eye(len(self.instances), dtype=torch.bool, device=self.instances.device)
        else:
            itself = self.photos[:, None] == self.photos[None]
        return same_instance & ~itself, ~same_instance
