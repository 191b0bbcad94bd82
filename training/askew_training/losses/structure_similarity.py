"""Structure similarity: match where the pieces of a vector lie among the centroids of a product quantiser."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf
from askew_training.losses.centroids import learn_centroids
from askew_training.losses.divergence import softmax_divergence


class StructureSimilarity(Loss):
    """mean over photos and sub-spaces of KL(softmax(10 g_m · C_m) ‖ softmax(10 f_m · C_m)).

    Wu et al., "Structure Similarity Preservation Learning for Asymmetric Image Retrieval" (arXiv 2403.00648), and
    their code, MCC-WH/SSP. A vector is cut into m pieces, one for each sub-space; the pieces and the `centroids` of a
    product quantiser of teacher vectors (`learn_centroids`) are scaled to unit length in each sub-space. 10 is
    `sharpness`.

    Departures from the code: the number of sub-spaces is that of the centroids, while the code has 64; a piece shorter
    than 1e-6 has no direction and is treated as zeros, with gradient 0.
    """

    reads = ("anchors", "teachers")
    centroids: Tensor

    def __init__(self, centroids: Tensor, sharpness: float = 10.0) -> None:
        """`centroids`: float [m, k, D / m], of any length.

        Raises ValueError for another shape.
        """
        super().__init__()
        if centroids.ndim != 3:
            raise ValueError(
                f"Expected centroids [sub-spaces, centroids, D / sub-spaces], got {list(centroids.shape)}."
            )
        self.register_buffer("centroids", _unit(centroids.detach()))
        self.sharpness = sharpness

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns a scalar, 0 where they are equal. Raises ValueError for an empty batch, and for vectors of another
        dimension than the centroids were made for.
        """
        self.check_batch_size(len(students))
        return softmax_divergence(self._logits(teachers), self._logits(students)).mean()

    def _logits(self, vectors: Tensor) -> Tensor:
        """Similarity to each centroid times the sharpness: [B, D] to [m, B, k]."""
        subspaces, _, piece = self.centroids.shape
        if vectors.shape[1] != subspaces * piece:
            raise ValueError(
                f"The centroids have {subspaces} x {piece} = {subspaces * piece} dimensions, and the vectors "
                f"{vectors.shape[1]}. Learn the centroids on this teacher's vectors."
            )
        pieces = _unit(vectors.reshape(-1, subspaces, piece)).transpose(0, 1)
        return self.sharpness * pieces @ self.centroids.to(vectors.dtype).transpose(1, 2)


class StructureSimilarityTable(LossTable):
    """`StructureSimilarity`, with centroids learned from the teacher's vectors of the training photos."""

    name: Literal["structure-similarity"]
    subspaces: int = Field(default=32, ge=1)
    bits: int = Field(default=8, ge=2, le=12)
    sharpness: float = Field(default=10.0, gt=0)

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> StructureSimilarity:
        centroids = learn_centroids(teacher_vectors(), self.subspaces, self.bits, seed=seed)
        return StructureSimilarity(torch.from_numpy(centroids), self.sharpness)


def _unit(vectors: Tensor) -> Tensor:
    """Scale to unit length along the last axis; vectors shorter than 1e-6 become 0, with gradient 0."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(length > 1e-6, vectors / length.clamp(min=1e-6), 0)
