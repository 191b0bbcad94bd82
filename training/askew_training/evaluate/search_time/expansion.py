"""alpha query expansion: search again with the query and the first hits' vectors together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from askew_training.evaluate.search_time.method import Count, Exponent, Grid, Method, Rows, Scores, Vectors
from askew_training.evaluate.search_time.similarity import nearest, similarity, unit, without_own


def expand(queries: Vectors, gallery: Vectors, scores: Scores, neighbours: int, alpha: float) -> Vectors:
    """q + Σ max(s, 0)^alpha x over the `neighbours` gallery vectors x with the highest scores s, scaled to unit length.

    `queries`: float32 [n, D], `gallery`: float32 [m, D], `scores`: float32 [n, m], -inf for what is no neighbour.
    Returns float32 [n, D]. Radenović et al., TPAMI 2019, section 3.6.
    """
    rows = nearest(scores, neighbours)
    similarities = np.take_along_axis(scores, rows, axis=1)
    weights = np.where(similarities > 0, np.maximum(similarities, 0) ** np.float32(alpha), 0)
    return unit(queries + np.einsum("nk,nkd->nd", weights.astype(np.float32), gallery[rows]))


@dataclass(frozen=True)
class ExpandingGallery:
    """Stored vectors, float32 [m, D]; see AlphaQueryExpansion."""

    vectors: Vectors
    neighbours: int
    alpha: float
    bytes_per_vector: float

    def score(self, queries: Vectors, own: Rows) -> Scores:
        found = without_own(similarity(queries, self.vectors), own)
        return similarity(expand(queries, self.vectors, found, self.neighbours, self.alpha), self.vectors)


class AlphaQueryExpansion(Method):
    """Search again with the mean of the query and its first `neighbours` hits, each weighted by its score to the `alpha`.

    alpha 0 is average query expansion. 10 and 3 are usual for revisited Oxford and Paris.
    """

    name: ClassVar[str] = "alpha-qe"
    grid: ClassVar[Grid] = {"neighbours": (1, 2, 3, 5, 10), "alpha": (0.0, 0.5, 1.0, 2.0, 3.0)}

    neighbours: Count = 10
    alpha: Exponent = 3.0

    def prepare(self, gallery: Vectors, others: Vectors) -> ExpandingGallery:
        return ExpandingGallery(gallery, self.neighbours, self.alpha, 4.0 * gallery.shape[1])
