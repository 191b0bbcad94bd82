"""Product codes of one byte a part, for packs that leave the server: trained and encoded with FAISS.

They are apart from the index's own 4-bit codes, which are laid out for FAISS's scan and for nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_server.index.faiss_library import encode_product, train_product
from askew_server.index.types import Vectors

CENTROIDS = 256
"""What one byte can name."""


def train_codebooks(vectors: Vectors, parts: int) -> Vectors:
    """Learn codebooks, float32 [parts, 256, width], rounded to float16, from vectors, float32 [n, parts × width], n > 0.

    The same vectors give the same codebooks. Raises EngineMissing.
    """
    # FAISS refuses fewer vectors than centroids; the same vectors several times have the same centroids.
    repeats = -(-CENTROIDS // len(vectors))
    books = train_product(np.tile(vectors, (repeats, 1)) if repeats > 1 else vectors, parts)
    return books.astype("<f2").astype(np.float32)


def nearest_codes(vectors: Vectors, codebooks: Vectors) -> NDArray[np.uint8]:
    """For each part of each vector the nearest row of its codebook: u8 [n, parts].

    `vectors`: float32 [n, parts × width]; `codebooks`: float32 [parts, 256, width]. Raises EngineMissing.
    """
    return encode_product(vectors, codebooks)
