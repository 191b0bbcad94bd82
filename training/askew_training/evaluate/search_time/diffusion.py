"""Diffusion on the neighbourhood graph of a gallery (Iscen et al., CVPR 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from askew_training.evaluate.search_time.augmentation import ROWS_AT_ONCE
from askew_training.evaluate.search_time.method import Count, Grid, Method, Rows, Scores, Vectors
from askew_training.evaluate.search_time.similarity import first_hits, nearest, similarity, without_own

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Graph:
    """A symmetric graph in which each node has at most K neighbours.

    `neighbours`: int64 [m, K]. `weights`: float32 [m, K], D^-1/2 W D^-1/2 of the mutual neighbours, and 0 for the others.
    """

    neighbours: Rows
    weights: NDArray[np.float32]

    def spread(self, values: Values) -> Values:
        """The product of the graph's matrix with float64 [m]."""
        return np.asarray(np.einsum("mk,mk->m", self.weights, values[self.neighbours]), np.float64)


def build_graph(gallery: Vectors, count: int, power: float) -> Graph:
    """Join photos that are among each other's `count` nearest ones by max(s, 0)^power, s their inner product."""
    total = len(gallery)
    count = min(count, total - 1)
    neighbours, weights = np.empty((total, count), np.int64), np.empty((total, count), np.float64)
    for start in range(0, total, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, total))
        scores = without_own(similarity(gallery[rows], gallery), rows[:, None])
        neighbours[rows] = nearest(scores, count)
        weights[rows] = np.maximum(np.take_along_axis(scores, neighbours[rows], axis=1), 0) ** power
    for start in range(0, total, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, total))
        is_mutual = (neighbours[neighbours[rows]] == rows[:, None, None]).any(axis=2)
        weights[rows] *= is_mutual
    degrees = weights.sum(axis=1)
    scale = 1 / np.sqrt(np.where(degrees > 0, degrees, 1))
    return Graph(neighbours, (weights * scale[:, None] * scale[neighbours]).astype(np.float32))


def solve(graph: Graph, start: Values, alpha: float, iterations: int, tolerance: float = 1e-6) -> Values:
    """The f with f - alpha S f = start, by conjugate gradients. float64 [m].

    Ends at a residual of `tolerance` times the start's length, or after `iterations`: Iscen et al. use 20.
    """
    solution, residual = np.zeros_like(start), start.copy()
    direction, length = residual.copy(), float(residual @ residual)
    enough = tolerance**2 * length
    for _ in range(iterations):
        if length <= enough:
            break
        change = direction - alpha * graph.spread(direction)
        step = length / float(direction @ change)
        solution += step * direction
        residual -= step * change
        length, before = float(residual @ residual), length
        direction = residual + length / before * direction
    return solution


@dataclass(frozen=True)
class DiffusingGallery:
    """Stored vectors, float32 [m, D], and their graph; see Diffusion."""

    vectors: Vectors
    graph: Graph
    settings: Diffusion
    bytes_per_vector: float

    def score(self, queries: Vectors, own: Rows) -> Scores:
        plain = similarity(queries, self.vectors)
        near = without_own(plain, own)
        scores = np.empty_like(plain)
        for row, rows in enumerate(nearest(near, self.settings.query_neighbours)):
            start = np.zeros(len(self.vectors))
            start[rows] = near[row, rows]
            scores[row] = reached_before_others(plain[row], self.settings.spread(self.graph, start))
        return scores


@dataclass(frozen=True)
class LocallyDiffusingGallery:
    """Stored vectors, float32 [m, D], of which each query's first hits make a graph of their own; see Diffusion."""

    vectors: Vectors
    settings: Diffusion
    depth: int
    bytes_per_vector: float

    def score(self, queries: Vectors, own: Rows) -> Scores:
        plain = similarity(queries, self.vectors)
        near = without_own(plain, own)
        scores = np.empty_like(plain)
        for row, scored in enumerate(near):
            rows = first_hits(scored, self.depth)
            if not len(rows):
                scores[row] = reached_before_others(plain[row], np.zeros(len(self.vectors)))
                continue
            graph = build_graph(self.vectors[rows], self.settings.neighbours, self.settings.power)
            start = np.zeros(len(rows))
            # The hits are in order: the first ones are the query's neighbours.
            start[: self.settings.query_neighbours] = near[row, rows[: self.settings.query_neighbours]]
            reached = np.zeros(len(self.vectors))
            reached[rows] = self.settings.spread(graph, start)
            scores[row] = reached_before_others(plain[row], reached)
        return scores


def reached_before_others(plain: Scores, reached: Values) -> Scores:
    """Scores in [-1, 1] by which what a diffusion reached comes first, and the others follow in their old order.

    `plain`: float32 [m], inner products. `reached`: float64 [m], 0 or less for what no path reaches.
    """
    others = np.asarray((plain - 1) / 2, np.float32)
    if reached.max() <= 0:
        return others
    return np.asarray(np.where(reached > 0, reached / reached.max(), others), np.float32)


class Diffusion(Method):
    """Rank by a random walk with restart on the gallery's neighbourhood graph, which starts at the query's neighbours.

    `neighbours`: of each node in the graph, of which the mutual ones are joined. `power`: the exponent of similarities.
    `depth`: how many of the first hits are ranked so, in a graph of their own, which needs no preparation; 0: the graph is the whole
    gallery's. The settings are those of the AML repository, the number of iterations that of the paper.
    """

    name: ClassVar[str] = "diffusion"
    grid: ClassVar[Grid] = {
        "neighbours": (5, 10, 20, 50, 100),
        "query_neighbours": (1, 3, 5, 10),
        "alpha": (0.9, 0.99),
        "depth": (0, 200),
    }

    neighbours: Count = 100
    query_neighbours: Count = 10
    alpha: float = Field(default=0.99, ge=0, lt=1)
    power: float = Field(default=3.0, gt=0, le=100)
    iterations: int = Field(default=20, ge=1, le=10_000)
    depth: int = Field(default=0, ge=0, le=1 << 40)

    def spread(self, graph: Graph, similarities: Values) -> Values:
        """Diffuse from float64 [m] similarities to the query, 0 for what it does not start from. float64 [m]."""
        return solve(graph, np.maximum(similarities, 0) ** self.power, self.alpha, self.iterations)

    def prepare(self, gallery: Vectors, others: Vectors) -> DiffusingGallery | LocallyDiffusingGallery:
        if self.depth:
            return LocallyDiffusingGallery(gallery, self, self.depth, 4.0 * gallery.shape[1])
        graph = build_graph(gallery, self.neighbours, self.power)
        # A search reads the vectors, and 32 bits of each neighbour's row and weight.
        kept = 4.0 * gallery.shape[1] + 8.0 * graph.neighbours.shape[1]
        return DiffusingGallery(gallery, graph, self, kept)
