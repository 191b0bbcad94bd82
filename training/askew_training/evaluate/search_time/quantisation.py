"""Fewer bytes for each dimension or piece of a gallery vector. The query stays in float32."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from askew_training.engines import import_faiss
from askew_training.errors import DataError
from askew_training.evaluate.search_time.method import Count, Grid, Method, Vectors
from askew_training.evaluate.search_time.plain import VectorGallery

CENTROIDS = 256


class HalfPrecision(Method):
    """Gallery vectors in 16-bit floats, as a server stores them and phones send them."""

    name: ClassVar[str] = "float16"

    def prepare(self, gallery: Vectors, others: Vectors) -> VectorGallery:
        return VectorGallery(gallery.astype(np.float16).astype(np.float32), 2.0 * gallery.shape[1])


class ScalarQuantisation(Method):
    """Gallery vectors in one byte for each dimension, between the gallery's smallest and largest value of it (FAISS, QT_8bit)."""

    name: ClassVar[str] = "sq8"

    def prepare(self, gallery: Vectors, others: Vectors) -> VectorGallery:
        faiss = import_faiss("to quantise vectors")
        index = faiss.IndexScalarQuantizer(gallery.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        return _decoded(index, gallery, gallery)


class ProductQuantisation(Method):
    """Gallery vectors in `bytes` pieces, each coded as the nearest of 256 centroids (Jégou et al., TPAMI 2011; FAISS).

    Centroids are learned from other photos' vectors (the role `train`), or from the gallery itself.
    """

    name: ClassVar[str] = "pq"
    grid: ClassVar[Grid] = {"bytes": (256, 128, 64, 32)}

    bytes: Count = 64
    learned_from: Literal["train", "gallery"] = "train"

    @property
    def learns_from_others(self) -> bool:
        return self.learned_from == "train"

    def prepare(self, gallery: Vectors, others: Vectors) -> VectorGallery:
        dim, learned = gallery.shape[1], others if self.learned_from == "train" else gallery
        if dim % self.bytes:
            raise DataError(f"Expected a number of bytes that divides the {dim} dimensions, got {self.bytes}.")
        if len(learned) < CENTROIDS:
            source = "photos of role train" if self.learned_from == "train" else "gallery photos"
            raise DataError(f"{CENTROIDS} centroids need at least as many {source}, got {len(learned)}.")
        faiss = import_faiss("to quantise vectors")
        index = faiss.IndexPQ(dim, self.bytes, 8, faiss.METRIC_INNER_PRODUCT)
        # With fewer vectors than its own minimum, faiss only warns, and does so on the terminal.
        index.pq.cp.min_points_per_centroid = 1
        return _decoded(index, gallery, learned)


def _decoded(index: Any, gallery: Vectors, learned: Vectors) -> VectorGallery:
    """The gallery as its codes say: an inner product with it is the asymmetric distance of the codes, as FAISS computes it."""
    index.train(np.ascontiguousarray(learned))
    codes = index.sa_encode(np.ascontiguousarray(gallery))
    return VectorGallery(np.asarray(index.sa_decode(codes), np.float32), float(codes.shape[1]))
