"""The exact index: FAISS's inner product over every vector, kept as float16.

A gallery's vectors are stored as float16, so nothing is lost by searching them as such; against float32 it takes half
the memory, half the file, and less than half the time for one query, which is bound by how fast memory can be read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from askew_client.engines import refuse_several
from askew_client.errors import EngineMissing
from askew_server.index.port import Labels, Vectors


class FaissExactIndex:
    """A flat float16 FAISS index with 64-bit labels. See VectorIndex for what each method does."""

    name = "exact"
    exact = True

    def __init__(self, faiss: Any, index: Any) -> None:
        self._faiss = faiss
        self._index = index

    @classmethod
    def empty(cls, dim: int) -> Self:
        """An index of `dim` components without vectors. Raises EngineMissing."""
        faiss = import_faiss()
        codes = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        return cls(faiss, faiss.IndexIDMap2(codes))

    @classmethod
    def read(cls, path: Path, dim: int) -> Self:
        """Read a saved index. Raises ValueError when the file holds another kind of index or dimension."""
        faiss = import_faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path} is no FAISS index: {str(error).splitlines()[0]}") from None
        is_ours = isinstance(index, faiss.IndexIDMap2) and index.metric_type == faiss.METRIC_INNER_PRODUCT
        codes = faiss.downcast_index(index.index) if is_ours else None
        if (
            not isinstance(codes, faiss.IndexScalarQuantizer)
            or codes.sq.qtype != faiss.ScalarQuantizer.QT_fp16
            or index.d != dim
        ):
            raise ValueError(f"{path} holds another kind of index")
        return cls(faiss, index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, labels: Labels, vectors: Vectors) -> None:
        if len(labels):
            self._index.add_with_ids(vectors, labels)

    def remove(self, labels: Labels) -> None:
        if len(labels):
            self._index.remove_ids(labels)

    def search(self, vectors: Vectors, limit: int, allowed: Labels | None) -> Labels:
        parameters = None
        if allowed is not None:
            parameters = self._faiss.SearchParameters(sel=self._faiss.IDSelectorBatch(allowed))
        _, labels = self._index.search(vectors, limit, params=parameters)
        found: Labels = labels
        return found

    def vectors(self, labels: Labels) -> Vectors:
        stored: Vectors = self._index.reconstruct_batch(labels)
        return stored

    def save(self, path: Path) -> None:
        self._faiss.write_index(self._index, str(path))


def import_faiss() -> Any:
    """Import faiss, or raise EngineMissing with the sentence that names the extra."""
    hint = "Install one: pip install 'askew-server[cpu]' (or 'askew-server[gpu]' where there is an NVIDIA GPU)."
    # Threads that spin at barriers starve the event loop on small machines; read by the OpenMP runtime at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss
    except ImportError:
        raise EngineMissing(f"No faiss is installed, which searches galleries. {hint}") from None
    refuse_several(("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12"), hint)
    return faiss
