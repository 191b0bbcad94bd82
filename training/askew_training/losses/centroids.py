"""Learn the centroids of a product quantiser on a teacher's vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_training.engines import import_faiss
from askew_training.errors import DataError


def learn_centroids(
    vectors: NDArray[np.float32], subspaces: int = 32, bits: int = 8, iterations: int = 10, seed: int = 0
) -> NDArray[np.float32]:
    """Learn 2^`bits` centroids in each sub-space of `vectors`: float32 [`subspaces`, 2^`bits`, D / `subspaces`].

    `vectors`: float32 [N, D], cut into pieces of equal size, one for each sub-space. K-means with two starts on at most
    1,000 vectors for each centroid, as in MCC-WH/SSP (arXiv 2403.00648), which learns them on other photos than it
    trains on. The centroids are not scaled to unit length.

    Raises DataError for fewer than 2^bits vectors, for a D that `subspaces` does not divide and for values that are
    not finite; EngineMissing if no faiss is installed, or several are.
    """
    count, dim = vectors.shape
    if subspaces < 1 or dim % subspaces:
        raise DataError(f"Expected a number of sub-spaces that divides the {dim} dimensions, got {subspaces}.")
    if not 1 <= bits <= 16:
        raise DataError(f"Expected 1 to 16 bits for each sub-space, got {bits}.")
    if count < 2**bits:
        raise DataError(
            f"{2**bits} centroids ({bits} bits) need at least as many teacher vectors, got {count}. "
            "Give more photos, or lower `bits`."
        )
    if not np.isfinite(vectors).all():
        raise DataError("The teacher's vectors have values that are not finite. Make them again with `askew cache`.")
    faiss = import_faiss("to learn the centroids")
    quantiser = faiss.ProductQuantizer(dim, subspaces, bits)
    quantiser.cp.niter, quantiser.cp.nredo, quantiser.cp.seed = iterations, 2, seed
    # With fewer vectors than its own minimum, faiss only warns, and does so on the terminal.
    quantiser.cp.min_points_per_centroid, quantiser.cp.max_points_per_centroid = 1, 1000
    quantiser.train(np.ascontiguousarray(vectors, dtype=np.float32))
    flat: NDArray[np.float32] = faiss.vector_to_array(quantiser.centroids)
    return flat.reshape(subspaces, 2**bits, dim // subspaces)
