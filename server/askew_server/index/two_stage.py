"""Two stages inside FAISS: a scan of 4-bit product codes (FastScan), refined from scalar codes of every component.

FastScan rounds the partial products of all sub-vectors to 8 bits on one scale, so sub-vectors of unequal variance lose
most of theirs: components are dealt to sub-vectors by their variance first. On 100,000 × 2048 half-whitened vectors
this makes 64 candidates for each hit do what 1,024 do without (recall@10 0.99).

The scan reads D/16 bytes a vector where a flat one reads 4 D; the refinement scores `k_factor` times as many
candidates as are asked for. Both are memory-mapped from files as far as FAISS can (the scalar codes: 94 % of the
bytes). FastScan takes no selector, so filters are met as masked.py says.
"""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_client.errors import AskewError
from askew_server.index.masked import Mask, MaskedSegment
from askew_server.index.record import Calibration
from askew_server.index.slices import Slice, Slices
from askew_server.index.types import Labels, Rows, Scores, Vectors

SCALAR_TYPES = {"SQ8": "QT_8bit", "SQfp16": "QT_fp16"}

_LONGEST_SUB_VECTOR = 32
_SHORTEST_HALVED = 8
_BITS = 4


class Codebooks(NamedTuple):
    """The FAISS indexes of a segment: the scan, and the scalar codes of the same rows.

    `order`: the order in which they take a vector's components, int64 [D]. `owner`: what else must live as long as
    they do.
    """

    scan: Any
    refine: Any
    order: NDArray[np.int64]
    owner: Any = None


def sub_vectors(dim: int) -> list[int]:
    """Into how many parts of equal length a vector may be cut for 4-bit product codes, fewest first.

    Parts of 8 components, where they fit, and half of that, which takes twice the scan and leaves fewer to refine.
    Raises AskewError for a dimension that cannot be cut so.
    """
    fitting = [length for length in range(8, _LONGEST_SUB_VECTOR + 1) if dim % length == 0]
    fitting += [length for length in range(7, 3, -1) if dim % length == 0]
    if not fitting or dim // fitting[0] < 2:
        raise AskewError(
            f"Expected a dimension that can be cut into parts of 4 to {_LONGEST_SUB_VECTOR} components, got {dim}. "
            "Use the exact index for this gallery."
        )
    parts = dim // fitting[0]
    return [parts, 2 * parts] if fitting[0] % 2 == 0 and fitting[0] >= _SHORTEST_HALVED else [parts]


def balanced_order(vectors: Vectors) -> NDArray[np.int64]:
    """The order of components, int64 [D], in which every sub-vector has its share of large and small variances."""
    dim = vectors.shape[1]
    # Two neighbouring short parts make one of the long ones, which has its share then, too.
    dealt = np.argsort(-vectors.var(axis=0), kind="stable").reshape(-1, sub_vectors(dim)[-1])
    # There and back again, as cards are dealt fairly.
    dealt[1::2] = dealt[1::2, ::-1]
    return dealt.T.reshape(dim)


def untrained_scan(faiss: Any, dim: int, parts: int, lists: int | None) -> Any:
    """A FAISS index to train: product codes of `parts` sub-vectors, flat, or behind `lists` inverted lists."""
    if lists is None:
        return faiss.IndexPQFastScan(dim, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, lists, parts, _BITS, faiss.METRIC_INNER_PRODUCT)


def untrained_refine(faiss: Any, dim: int, refine: str) -> Any:
    """A FAISS index to train: scalar codes, SQ8 or SQfp16."""
    scalar = getattr(faiss.ScalarQuantizer, SCALAR_TYPES[refine])
    return faiss.IndexScalarQuantizer(dim, scalar, faiss.METRIC_INNER_PRODUCT)


def empty_like(faiss: Any, codebooks: Codebooks) -> Codebooks:
    """Indexes without vectors that code as these do."""
    scan, refine, order, _ = codebooks
    if isinstance(scan, faiss.IndexIVFPQFastScan):
        empty = faiss.IndexIVFPQFastScan(scan.quantizer, scan.d, scan.nlist, scan.pq.M, scan.pq.nbits, scan.metric_type)
        empty.by_residual = scan.by_residual
    else:
        empty = faiss.IndexPQFastScan(scan.d, scan.pq.M, scan.pq.nbits, scan.metric_type)
    empty.pq = scan.pq
    empty.is_trained = True
    scalar = faiss.IndexScalarQuantizer(refine.d, refine.sq.qtype, refine.metric_type)
    scalar.sq = refine.sq
    scalar.is_trained = True
    # The coarse quantizer stays the other index's own.
    return Codebooks(empty, scalar, order, scan)


class TwoStageEngine:
    """Searches codes by row. See RowEngine."""

    exact = False
    most = 1 << 30

    def __init__(self, faiss: Any, codebooks: Codebooks, calibration: Calibration) -> None:
        """Where the calibration says more than one slice, the scan's codes are taken out of the codebooks."""
        self._faiss = faiss
        self._codebooks = codebooks
        self._calibration = calibration
        self._slices = Slices(faiss, codebooks.scan, codebooks.refine, calibration.slices)

    @property
    def rows(self) -> int:
        """How many rows it searches."""
        return int(self._codebooks.refine.ntotal)

    @property
    def bytes_per_row(self) -> float:
        """What a row takes, both codes together."""
        return float(self._codebooks.refine.code_size + self._codebooks.scan.M2 / 2)

    def append(self, vectors: Vectors) -> None:
        """Code vectors, float32 [n, D], as further rows. Not for memory-mapped indexes."""
        self._slices.append(self._ordered(vectors))

    def page_in(self) -> None:
        """Touch every page of the memory-mapped codes: a search of pages never touched takes three times as long."""
        refine = self._codebooks.refine
        codes = self._faiss.rev_swig_ptr(refine.codes.data(), self.rows * refine.code_size)
        codes[:: mmap.PAGESIZE].max(initial=0)

    def nearest(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        return self.nearest_by(queries, count, self._calibration.factor(count), self._calibration.nprobe)

    def nearest_by(self, queries: Vectors, count: int, k_factor: float, nprobe: int | None) -> tuple[Scores, Rows]:
        """The nearest rows by a k_factor and, with inverted lists, nprobe of one's own."""
        scan = self._probes(nprobe)
        ordered = self._ordered(queries)

        def search(part: Slice) -> tuple[Scores, Rows]:
            # A float product must not fall below the count, nor ask for more than there is.
            fetched = min(count, part.rows)
            factor = max(1.0, min(k_factor / len(self._slices), part.rows / fetched))
            parameters = self._faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=scan)
            found: tuple[Scores, Rows] = part.both.search(ordered, fetched, params=parameters)
            return found

        return self._slices.nearest(search, count)

    def candidates(self, queries: Vectors, count: int, nprobe: int | None) -> Rows:
        """What the scan alone finds: int64 [n, count]."""
        parameters = self._probes(nprobe)
        ordered = self._ordered(queries)

        def search(part: Slice) -> tuple[Scores, Rows]:
            found: tuple[Scores, Rows] = part.scan.search(ordered, min(count, part.rows), params=parameters)
            return found

        return self._slices.nearest(search, count)[1]

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        ordered = self._ordered(queries)

        def search(part: Slice) -> tuple[Scores, Rows]:
            parameters = None
            if mask is not None:
                packed = np.packbits(mask[part.start : part.start + part.rows], bitorder="little")
                parameters = self._faiss.SearchParameters(sel=self._faiss.IDSelectorBitmap(packed))
            found: tuple[Scores, Rows] = part.refine.search(ordered, min(count, part.rows), params=parameters)
            return found

        return self._slices.nearest(search, count)

    def nearest_seconds(self, count: int) -> float:
        return self._calibration.seconds(self.rows, count)

    def flat_seconds(self, admitted: int) -> float:
        costs = self._calibration.costs
        return costs.test_row * self.rows + costs.score_row * admitted

    def _probes(self, nprobe: int | None) -> Any:
        return None if nprobe is None else self._faiss.SearchParametersIVF(nprobe=nprobe)

    def _ordered(self, vectors: Vectors) -> Vectors:
        return vectors[:, self._codebooks.order]


class CodedTail(MaskedSegment):
    """A segment in memory that grows: vectors coded with the main segment's codebooks, under labels in any order."""

    def __init__(self, engine: TwoStageEngine) -> None:
        super().__init__(engine, np.empty(0, dtype=np.int64))
        self._coder = engine
        self._row_of: dict[int, int] = {}

    @property
    def bytes_memory(self) -> int:
        """What its codes and labels take, about."""
        return int(self.rows * (self._coder.bytes_per_row + 9))

    def append(self, labels: Labels, vectors: Vectors) -> None:
        """Code vectors, float32 [n, D], under labels that it does not hold."""
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
