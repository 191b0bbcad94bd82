"""What the others are compared with: inner products of the vectors as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from askew_training.evaluate.search_time.method import Method, Rows, Scores, Vectors
from askew_training.evaluate.search_time.similarity import similarity


@dataclass(frozen=True)
class VectorGallery:
    """Vectors that are compared with the query's, float32 [m, D], and what a search keeps of each."""

    vectors: Vectors
    bytes_per_vector: float

    def score(self, queries: Vectors, own: Rows) -> Scores:
        return similarity(queries, self.vectors)


class Plain(Method):
    """Inner products of float32 vectors: what `askew evaluate` measures."""

    name: ClassVar[str] = "plain"

    def prepare(self, gallery: Vectors, others: Vectors) -> VectorGallery:
        return VectorGallery(gallery, 4.0 * gallery.shape[1])
