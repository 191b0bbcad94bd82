"""Structure similarity: where a vector's pieces lie among the centroids of a product quantiser."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from askew_training.losses.batch_size import refuse_small_batch
from askew_training.losses.divergence import softmax_divergence


class StructureSimilarity(nn.Module):
    """mean over photos and sub-spaces of KL(softmax(10 g_m · C_m) ‖ softmax(10 f_m · C_m)).

    Wu et al., "Structure Similarity Preservation Learning for Asymmetric Image Retrieval" (arXiv 2403.00648), and
    their code, MCC-WH/SSP. A vector is cut into m pieces, one for each sub-space; the pieces and the `centroids` of a
    product quantiser of teacher vectors (`learn_centroids`) are scaled to unit length in each sub-space. 10 is
    `sharpness`.

    Departures from the code: the number of sub-spaces is that of the centroids, where the code has 64; a piece shorter
    than 1e-6 has no direction: it counts as zeros, with gradient 0.
    """

    reads = ("anchors", "teachers")
    smallest_batch = 1
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
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        Returns a scalar, 0 where they are equal. Raises ValueError for an empty batch, and for vectors of another
        dimension than the centroids are made for.
        """
        refuse_small_batch("StructureSimilarity", len(students), self.smallest_batch)
        return softmax_divergence(self._logits(teachers), self._logits(students)).mean()

    def _logits(self, vectors: Tensor) -> Tensor:
        """Similarity to each centroid times the sharpness: [B, D] to [m, B, k]."""
        subspaces, _, piece = self.centroids.shape
        if vectors.shape[1] != subspaces * piece:
            raise ValueError(
                f"The centroids are of {subspaces} x {piece} = {subspaces * piece} dimensions, and the vectors have "
                f"{vectors.shape[1]}. Learn the centroids on this teacher's vectors."
            )
        pieces = _unit(vectors.reshape(-1, subspaces, piece)).transpose(0, 1)
        return self.sharpness * pieces @ self.centroids.to(vectors.dtype).transpose(1, 2)


def _unit(vectors: Tensor) -> Tensor:
    """Scale to unit length along the last axis; vectors shorter than 1e-6 become 0, with gradient 0."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(length > 1e-6, vectors / length.clamp(min=1e-6), 0)
