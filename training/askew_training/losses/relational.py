"""Relational knowledge distillation: give a batch the same shape in the student's space as in the teacher's."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import huber_loss

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf


class RelationalDistillation(Loss):
    """Match the distances between the photos of a batch, and the angles of their triangles, to the teacher's.

    Budnik & Avrithis (CVPR 2021), section 3.2, "RKD", after Park et al. (CVPR 2019): `distance_weight` times the mean
    Huber loss (δ = 1) of ‖x_i − x_j‖ / μ over all (i, j), eq. 7, 8, and `angle_weight` times that of the cosine of the
    angle at x_i between x_j and x_k over all (i, j, k), eq. 11, 12. μ is the mean distance of two photos, in each space
    separately. As published, the means include i = j, where both networks have 0.

    The loss does not change when the student's space is rotated or scaled, so a student trained with it alone does not
    land in the teacher's space.
    """

    reads = ("anchors", "teachers")
    # With two photos, the only distance divided by itself is 1 in every space, and there is no angle.
    smallest_batch = 3

    def __init__(self, distance_weight: float = 1.0, angle_weight: float = 2.0) -> None:
        super().__init__()
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns a scalar, in memory of B × B × (D + B) values; D may differ. Raises ValueError for fewer photos than
        `smallest_batch`.
        """
        self.check_batch_size(len(students))
        distances, angles = _relations(students)
        teacher_distances, teacher_angles = _relations(teachers)
        by_distance = huber_loss(distances, teacher_distances)
        by_angle = huber_loss(angles, teacher_angles)
        return self.distance_weight * by_distance + self.angle_weight * by_angle


class RelationalDistillationTable(LossTable):
    """`RelationalDistillation`."""

    name: Literal["relational-distillation"]
    distance_weight: float = Field(default=1.0, ge=0)
    angle_weight: float = Field(default=2.0, ge=0)

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> RelationalDistillation:
        return RelationalDistillation(self.distance_weight, self.angle_weight)


def _relations(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """All distances divided by their mean, float [B, B], and the cosine at i between j and k, float [B, B, B].

    Vectors nearer than 1e-6 are treated as identical: they have no direction, and their angles cosine and gradient 0.
    """
    shortest = 1e-6
    count = len(vectors)
    # From differences, not from inner products: the distance of two equal vectors must be 0 rather than a rounding
    # error, whose direction would be noise.
    differences = vectors[None] - vectors[:, None]
    lengths = differences.norm(dim=2)
    mean = lengths.sum() / (count * (count - 1))
    has_direction = (lengths > shortest)[:, :, None]
    directions = torch.where(
        has_direction, differences / lengths.clamp(min=shortest)[:, :, None], torch.zeros_like(differences)
    )
    return lengths / mean.clamp(min=shortest), directions @ directions.transpose(1, 2)
