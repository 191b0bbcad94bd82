"""Relational knowledge distillation: the shape of a batch in the student's space like that in the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from askew_training.losses.batch_size import refuse_small_batch


class RelationalDistillation(nn.Module):
    """Match the distances between the photos of a batch, and the angles of their triangles, to the teacher's.

    Budnik & Avrithis (CVPR 2021), section 3.2, "RKD", after Park et al. (CVPR 2019): `distance_weight` times the mean
    Huber loss (δ = 1) of ‖x_i − x_j‖ / μ over all (i, j), eq. 7, 8, and `angle_weight` times that of the cosine of the
    angle at x_i between x_j and x_k over all (i, j, k), eq. 11, 12. μ, of each space by itself, is the mean distance
    of two photos. As published, the means also count i = j, where both networks have 0.

    The student is free to turn and to grow its space, so alone this loss does not let it land in the teacher's.
    """

    reads = ("anchors", "teachers")
    # Of two photos the only distance, divided by itself, is 1 in every space, and they span no angle.
    smallest_batch = 3

    def __init__(self, distance_weight: float = 1.0, angle_weight: float = 2.0) -> None:
        super().__init__()
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        Returns a scalar, in memory of B × B × (D + B) values; D may differ. Raises ValueError for fewer photos than
        `smallest_batch`.
        """
        refuse_small_batch("RelationalDistillation", len(students), self.smallest_batch)
        distances, angles = _relations(students)
        teacher_distances, teacher_angles = _relations(teachers)
        by_distance = huber_loss(distances, teacher_distances)
        by_angle = huber_loss(angles, teacher_angles)
        return self.distance_weight * by_distance + self.angle_weight * by_angle


def _relations(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """All distances over their mean, float [B, B], and the cosine at i between j and k, float [B, B, B].

    Vectors nearer than 1e-6 count as one: they have no direction, and their angles cosine and gradient 0.
    """
    shortest = 1e-6
    count = len(vectors)
    # By differences, not by inner products: two equal vectors must have no distance rather than a rounding error,
    # whose direction would be noise.
    differences = vectors[None] - vectors[:, None]
    lengths = differences.norm(dim=2)
    mean = lengths.sum() / (count * (count - 1))
    has_direction = (lengths > shortest)[:, :, None]
    directions = torch.where(
        has_direction, differences / lengths.clamp(min=shortest)[:, :, None], torch.zeros_like(differences)
    )
    return lengths / mean.clamp(min=shortest), directions @ directions.transpose(1, 2)
