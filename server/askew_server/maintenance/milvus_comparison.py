"""Compares what Milvus finds with exact answers from a gallery's own database."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.ranking import FoundItem, ranked
from askew_server.index.types import Labels, Vectors
from askew_server.milvus.collection import MilvusCollection
from askew_server.milvus.conditions import EVERYTHING
from askew_server.milvus.reader import MilvusReader
from askew_server.storage.reader import GalleryReader

SAMPLE = 50
NEAREST = 10
_MARGIN = 40
"""How many more are fetched, so that items of the same score are all among them."""


@dataclass(frozen=True)
class Comparison:
    """Of how many sampled items the nearest ten were compared, and the share of them that Milvus found."""

    queries: int
    recall_at_10: float


def compare(source: GalleryReader, dim: int, collection: MilvusCollection, milvus: MilvusReader) -> Comparison:
    """Search for sampled items of the source in Milvus, and compare with every vector of the source."""
    labels = source.labels()
    if not len(labels):
        return Comparison(0, 1.0)
    sample = labels[np.unique(np.linspace(0, len(labels) - 1, SAMPLE).astype(np.int64))]
    queries = np.concatenate([vectors for _, vectors in source.vectors_of(sample, dim)])
    expected = _nearest(source, labels, dim, queries)
    found = collection.search(queries, NEAREST + _MARGIN, EVERYTHING)
    matched = sought = 0
    for query, exact, hits in zip(queries, expected, found, strict=True):
        items = ranked(milvus.candidates([label for _, label in hits]), query)[:NEAREST]
        sought += len(exact)
        matched += _matches(exact, items)
    return Comparison(len(queries), matched / sought)


def require_equal(comparison: Comparison, floor: float) -> None:
    """Raise Refusal (verification-failed) for a comparison below a floor of recall."""
    if comparison.recall_at_10 < floor:
        raise Refusal(
            ProblemKind.VERIFICATION_FAILED,
            f"Milvus finds {comparison.recall_at_10:.1%} of the ten items that are nearest to {comparison.queries} sampled "
            f"ones; {floor:.1%} is needed. Nothing was switched. Choose other index or search parameters (--index-parameters, "
            "--search-parameters), or --index-type FLAT, in another collection.",
        )


def _nearest(source: GalleryReader, labels: Labels, dim: int, queries: Vectors) -> list[list[FoundItem]]:
    """The ten nearest items of the source to each query, by one walk over all vectors."""
    kept: list[list[tuple[float, int]]] = [[] for _ in queries]
    for part, vectors in source.vectors_of(labels, dim):
        scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
        for position, row in enumerate(scores):
            best = np.argsort(-row)[: NEAREST + _MARGIN]
            found = kept[position] + list(zip(row[best].tolist(), part[best].tolist(), strict=True))
            kept[position] = sorted(found, reverse=True)[: NEAREST + _MARGIN]
    return [
        ranked(source.candidates([label for _, label in found]), query)[:NEAREST]
        for query, found in zip(queries, kept, strict=True)
    ]


def _matches(exact: list[FoundItem], items: list[FoundItem]) -> int:
    """How many of the exact hits were found: the same id and score, or, beyond a margin of equals, as high a score."""
    known = {(item.id, item.falling) for item in items}
    last = exact[-1].falling if exact else 0.0
    equals = sum(item.falling == last for item in items)
    certain = [each for each in exact if each.falling < last]
    return sum((each.id, each.falling) in known for each in certain) + min(len(exact) - len(certain), equals)
