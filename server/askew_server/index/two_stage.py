"""Two stages inside FAISS: a scan of 4-bit product codes (FastScan), refined from scalar codes of every component.

FastScan rounds the partial products of all sub-vectors to 8 bits on one scale, so sub-vectors of low variance lose most
of their precision. Components are therefore distributed over the sub-vectors by their variance first. On 100,000 × 2048
half-whitened vectors, 64 candidates for each hit then reach a recall@10 of 0.99, which otherwise takes 1,024 candidates.

The scan reads D/16 bytes per vector, a flat scan 4 D; the refinement scores `k_factor` candidates for each hit wanted.
Both are memory-mapped from files as far as FAISS supports it (the scalar codes: 94 % of the bytes). FastScan does not
support selectors, so masked.py applies the filters.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_client.errors import AskewError
from askew_server.index.faiss_library import (
    ScalarCodes,
    Scan,
    codes_in_memory,
    empty_scalar_codes_like,
    empty_scan_like,
    scan_bytes_per_row,
    search_refined,
    search_scalar_codes,
    search_scan,
)
from askew_server.index.masked import MaskedSegment
from askew_server.index.record import Calibration
from askew_server.index.slices import Slice, Slices
from askew_server.index.types import Labels, Mask, Rows, Scores, Vectors

_LONGEST_SUB_VECTOR = 32
_SHORTEST_HALVED = 8


class Codebooks(NamedTuple):
    """The FAISS indexes of a segment: the scan, and the scalar codes of the same rows.

    `order`: the order in which they take a vector's components, int64 [D]. `owner`: an object that must live as long as
    they do.
    """

    scan: Scan
    codes: ScalarCodes
    order: NDArray[np.int64]
    owner: object = None

    def empty(self) -> Codebooks:
        """Indexes without rows and with the same codebooks."""
        # The original scan owns the inverted lists, so it must stay alive.
        return Codebooks(empty_scan_like(self.scan), empty_scalar_codes_like(self.codes), self.order, self.scan)


def sub_vectors(dim: int) -> list[int]:
    """The numbers of equal parts that a vector may be cut into for 4-bit product codes, fewest first.

    Parts of 8 components if possible, and parts of 4, which double the scan and leave fewer candidates to refine. Raises
    AskewError for a dimension that cannot be cut into equal parts.
    """
    fitting = [length for length in range(8, _LONGEST_SUB_VECTOR + 1) if dim % length == 0]
    fitting += [length for length in range(7, 3, -1) if dim % length == 0]
    if not fitting or dim // fitting[0] < 2:
        raise AskewError(
            f"Expected a dimension that can be cut into equal parts of 4 to {_LONGEST_SUB_VECTOR} components, got {dim}. "
            "Use the exact index for this gallery."
        )
    parts = dim // fitting[0]
    return [parts, 2 * parts] if fitting[0] % 2 == 0 and fitting[0] >= _SHORTEST_HALVED else [parts]


def balanced_order(vectors: Vectors) -> NDArray[np.int64]:
    """The order of components, int64 [D], that gives every sub-vector a similar mix of large and small variances."""
    dim = vectors.shape[1]
    # Two neighbouring short parts make a long one, so the long ones are balanced, too.
    dealt = np.argsort(-vectors.var(axis=0), kind="stable").reshape(-1, sub_vectors(dim)[-1])
    # Every second round is dealt in reverse, so that no part always gets the larger variance.
    dealt[1::2] = dealt[1::2, ::-1]
    return dealt.T.reshape(dim)


class TwoStageEngine:
    """Searches codes by row. See RowEngine."""

    exact = False
    max_nearest = 1 << 30

    def __init__(self, codebooks: Codebooks, calibration: Calibration) -> None:
        """If the calibration has several slices, the rows move from the codebooks' scan into them."""
        self._codebooks = codebooks
        self._calibration = calibration
        self._slices = Slices(codebooks.scan, codebooks.codes, calibration.slices)

    @property
    def rows(self) -> int:
        """How many rows it searches."""
        return int(self._codebooks.codes.ntotal)

    @property
    def bytes_per_row(self) -> float:
        """The bytes of both codes of a row."""
        return self._codebooks.codes.code_size + scan_bytes_per_row(self._codebooks.scan)

    def append(self, vectors: Vectors) -> None:
        """Code vectors, float32 [n, D], as further rows. Not for memory-mapped indexes."""
        self._slices.append(self._ordered(vectors))

    def page_in(self) -> None:
        """Read every page of the memory-mapped codes: a search of pages not yet in memory takes three times as long."""
        codes_in_memory(self._codebooks.codes)[:: mmap.PAGESIZE].max(initial=0)

    def nearest(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        return self.nearest_by(queries, count, self._calibration.factor(count), self._calibration.nprobe)

    def nearest_by(self, queries: Vectors, count: int, k_factor: float, nprobe: int | None) -> tuple[Scores, Rows]:
        """The nearest rows at this effort instead of the calibrated one."""
        ordered = self._ordered(queries)

        def search(part: Slice) -> tuple[Scores, Rows]:
            # FAISS multiplies the two: the product must not fall below the count, nor exceed the rows.
            fetched = min(count, part.rows)
            factor = max(1.0, min(k_factor / len(self._slices), part.rows / fetched))
            return search_refined(part.both, ordered, fetched, k_factor=factor, nprobe=nprobe)

        return self._slices.nearest(search, count)

    def candidates(self, queries: Vectors, count: int, nprobe: int | None) -> Rows:
        """The rows that the scan finds without refinement: int64 [n, count]."""
        ordered = self._ordered(queries)

        def search(part: Slice) -> tuple[Scores, Rows]:
            return search_scan(part.scan, ordered, min(count, part.rows), nprobe=nprobe)

        return self._slices.nearest(search, count)[1]

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        ordered = self._ordered(queries)

        def search(part: Slice) -> tuple[Scores, Rows]:
            of_part = None if mask is None else mask[part.start : part.start + part.rows]
            return search_scalar_codes(part.codes, ordered, min(count, part.rows), of_part)

        return self._slices.nearest(search, count)

    def nearest_seconds(self, count: int) -> float:
        return self._calibration.seconds(self.rows, count)

    def flat_seconds(self, admitted: int) -> float:
        costs = self._calibration.costs
        return costs.test_row * self.rows + costs.score_row * admitted

    def _ordered(self, vectors: Vectors) -> Vectors:
        return vectors[:, self._codebooks.order]


class CodedTail(MaskedSegment):
    """A growing segment in memory: vectors coded with the main segment's codebooks, with labels in any order."""

    def __init__(self, engine: TwoStageEngine) -> None:
        super().__init__(engine, np.empty(0, dtype=np.int64))
        self._coder = engine
        self._row_of: dict[int, int] = {}

    @property
    def bytes_memory(self) -> int:
        """The approximate bytes of its codes and labels."""
        return int(self.rows * (self._coder.bytes_per_row + 9))

    def append(self, labels: Labels, vectors: Vectors) -> None:
        """Code vectors, float32 [n, D], under new labels."""
        self._row_of.update(zip(labels.tolist(), range(self.rows, self.rows + len(labels)), strict=True))
        self._coder.append(vectors)
        self._row_labels = np.concatenate([self._row_labels, labels])
        self._alive = np.concatenate([self._alive, np.ones(len(labels), dtype=bool)])
        self._count += len(labels)

    def _admitted(self, allowed: Labels) -> Mask:
        return np.isin(self._row_labels, allowed)

    def _rows_of(self, labels: Labels) -> Rows:
        if len(labels) < self.rows:
            known = [self._row_of[label] for label in labels.tolist() if label in self._row_of]
            return np.array(known, dtype=np.int64)
        return np.flatnonzero(np.isin(self._row_labels, labels))
