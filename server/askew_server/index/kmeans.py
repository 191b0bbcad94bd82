"""k-means, for the codebooks of packs that leave the server.

They are apart from the index's own codes, which are laid out for FAISS's scan and for nothing else.
"""

from __future__ import annotations

import numpy as np

from askew_server.index.faiss_library import train_centroids
from askew_server.index.types import Vectors


def centroids_of(vectors: Vectors, count: int) -> Vectors:
    """The `count` centroids, float32 [count, width], of vectors, float32 [n, width], n > 0.

    The same vectors give the same centroids in the same order. Raises EngineMissing.
    """
    # FAISS refuses fewer vectors than centroids; the same vectors several times have the same centroids.
    repeats = -(-count // len(vectors))
    return train_centroids(np.tile(vectors, (repeats, 1)) if repeats > 1 else vectors, count)
