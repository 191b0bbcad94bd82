"""k-reciprocal re-ranking of the first hits (Zhong et al., CVPR 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from askew_training.evaluate.search_time.method import Count, Grid, Method, Rows, Scores, Vectors
from askew_training.evaluate.search_time.similarity import first_hits, similarity, without_own


def reciprocal_distances(
    products: NDArray[np.float32], neighbours: int, smoothed: int, distance_share: float
) -> NDArray[np.float64]:
    """The distances of the published `re_ranking` from node 0 to the others: float64 [N - 1], 0 to 1.

    `products`: float32 [N, N], inner products of unit vectors; node 0 is the query. `neighbours`: k1. `smoothed`: k2, how
    many nodes' encodings are averaged. `distance_share`: lambda, the share of the plain distance.
    """
    plain = np.maximum(2.0 - 2.0 * products.astype(np.float64), 0)
    np.fill_diagonal(plain, 0)
    plain /= np.maximum(plain.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    # Every node is its own first neighbour, also where another photo is equal to it.
    ranked = plain - np.eye(len(plain))
    order = np.argsort(ranked, axis=1, kind="stable")
    wide = _reciprocal(order, neighbours)
    narrow = _reciprocal(order, round(neighbours / 2))
    shared = wide.astype(np.float32) @ narrow.T.astype(np.float32)
    # Half of a neighbour's own neighbours join where most of them are the node's neighbours, too.
    joins = wide & (shared > 2 / 3 * narrow.sum(axis=1))
    members = wide | (joins.astype(np.float32) @ narrow.astype(np.float32) > 0)
    encodings = np.where(members, np.exp(-plain), 0)
    encodings /= encodings.sum(axis=1, keepdims=True)
    if smoothed > 1:
        encodings = encodings[order[:, :smoothed]].mean(axis=1)
    common = np.minimum(encodings[0], encodings[1:]).sum(axis=1)
    jaccard = 1 - common / (2 - common)
    return np.asarray(jaccard * (1 - distance_share) + plain[0, 1:] * distance_share, np.float64)


def _reciprocal(order: Rows, count: int) -> NDArray[np.bool_]:
    """Which nodes are among each other's `count` nearest ones and themselves: bool [N, N]."""
    near = np.zeros((len(order), len(order)), np.bool_)
    np.put_along_axis(near, order[:, : count + 1], True, axis=1)
    return near & near.T


@dataclass(frozen=True)
class ReciprocalGallery:
    """Stored vectors, float32 [m, D]; see KReciprocal."""

    vectors: Vectors
    settings: KReciprocal
    bytes_per_vector: float

    def score(self, queries: Vectors, own: Rows) -> Scores:
        plain = similarity(queries, self.vectors)
        scores = np.empty_like(plain)
        for row, near in enumerate(without_own(plain, own)):
            rows = first_hits(near, self.settings.depth)
            nodes = np.concatenate([queries[row : row + 1], self.vectors[rows]])
            distances = reciprocal_distances(
                nodes @ nodes.T, self.settings.neighbours, self.settings.smoothed, self.settings.distance_share
            )
            # What is not re-ranked comes after what is, in its old order.
            scores[row] = (plain[row] - 1) / 2
            scores[row, rows] = 1 - distances
        return scores


class KReciprocal(Method):
    """Re-rank the first `depth` hits by how many neighbours they share with the query, each among the other's nearest.

    The published algorithm on the query and its first hits: other queries, which a search does not know, take no part.
    `neighbours`, `smoothed` and `distance_share` are k1, k2 and lambda of Zhong et al.
    """

    name: ClassVar[str] = "k-reciprocal"
    grid: ClassVar[Grid] = {"neighbours": (3, 5, 10, 20), "smoothed": (1, 2, 3, 6), "distance_share": (0.3, 0.6, 0.9)}

    neighbours: Count = 20
    smoothed: Count = 6
    distance_share: float = Field(default=0.3, ge=0, le=1)
    depth: Count = 200

    def prepare(self, gallery: Vectors, others: Vectors) -> ReciprocalGallery:
        return ReciprocalGallery(gallery, self, 4.0 * gallery.shape[1])
