"""FAISS behind typed functions. No other module of the package imports it or uses its classes.

FAISS is an optional dependency. It is imported by the first call that needs it, not by `import askew_server`; if it is
not installed, the call raises EngineMissing. FAISS reports its own failures as RuntimeError.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.engines import FAISS_BUILDS, not_importable, refuse_several
from askew_client.errors import EngineMissing
from askew_server.index.types import Mask, Precision, Rows, Scores, Vectors

FASTSCAN_BLOCK = 32
"""FastScan packs the codes of this many rows into one block."""

_PRECISIONS = {"SQ8": "QT_8bit", "SQfp16": "QT_fp16"}
_BITS = 4
_TRAINING_ROUNDS = 8
_CENTROID_ROUNDS = 12
_LEAST_WIDTH = 17
_SEED = 20_21
_HINT = "Install one: pip install faiss-cpu (or faiss-gpu, for an NVIDIA GPU)."
GPU_HINT = (
    "Install one for the GPU (pip install faiss-gpu) in place of faiss-cpu, or in an environment of its own that the "
    "setting gpu_python names (docs/gpu.md)."
)


class Index(Protocol):
    """A FAISS index of `ntotal` vectors of `d` components by inner product."""

    @property
    def d(self) -> int: ...
    @property
    def ntotal(self) -> int: ...
    def add(self, vectors: Vectors, /) -> None:
        """Add vectors, float32 [n, D], as further rows."""


class Scan(Index, Protocol):
    """4-bit product codes in FastScan's layout, in one list or in inverted lists."""

    def train(self, vectors: Vectors, /) -> None:
        """Learn the codebooks from vectors, float32 [n, D]."""

    def reset(self) -> None:
        """Remove every row; the codebooks stay."""


class ScalarCodes(Index, Protocol):
    """Codes of every component of every row, `code_size` bytes a row."""

    @property
    def code_size(self) -> int: ...
    def train(self, vectors: Vectors, /) -> None:
        """Learn the range of each component from vectors, float32 [n, D]."""


class FlatIndex(Index, Protocol):
    """Vectors as float16; a search compares all of them with each query."""

    def search(self, queries: Vectors, count: int, /) -> tuple[Scores, Rows]:
        """The nearest rows."""


class Refined(Index, Protocol):
    """A scan whose candidates are re-scored from scalar codes."""


def require_faiss() -> None:
    """Import FAISS. Raises EngineMissing, naming the extra to install, if it is missing or installed twice."""
    # Threads that spin at barriers starve the event loop on small machines; the OpenMP runtime reads this at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss  # noqa: F401
    # Builds for the GPU need libraries of CUDA, also where nothing is searched on a GPU, and raise RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise not_importable(error, "faiss", "FAISS, which searches galleries, is not installed.", _HINT) from None
    refuse_several(FAISS_BUILDS, _HINT)


def faiss_version() -> str:
    """The version of the installed FAISS."""
    return str(_faiss().__version__)


def limit_faiss_threads(threads: int) -> None:
    """Limit the threads of FAISS for calls from the current thread; FAISS keeps a limit for each calling thread."""
    _faiss().omp_set_num_threads(threads)


def largest(scores: Scores, count: int) -> tuple[Scores, Rows]:
    """The `count` largest scores of each row and their columns, in one call that releases the GIL."""
    found: tuple[Scores, Rows] = _faiss().kmax(np.ascontiguousarray(scores), count)
    return found


# Two stages: making and reading the two kinds of codes


def new_scan(dim: int, parts: int, lists: int | None) -> Scan:
    """An untrained scan with product codes of `parts` sub-vectors; `lists`: the number of inverted lists, if any."""
    faiss = _faiss()
    if lists is None:
        flat: Scan = faiss.IndexPQFastScan(dim, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
        return flat
    scan = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, lists, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
    # FAISS's default of 10 or more rounds takes minutes at 2,048 components; recall is calibrated after training anyway.
    scan.cp.niter = _TRAINING_ROUNDS
    scan.cp.min_points_per_centroid = 1
    inverted: Scan = scan
    return inverted


def new_scalar_codes(dim: int, precision: Precision) -> ScalarCodes:
    """Untrained scalar codes."""
    faiss = _faiss()
    scalar = getattr(faiss.ScalarQuantizer, _PRECISIONS[precision])
    codes: ScalarCodes = faiss.IndexScalarQuantizer(dim, scalar, faiss.METRIC_INNER_PRODUCT)
    return codes


def empty_scan_like(scan: Any) -> Scan:
    """A scan without rows that codes as `scan` does. It refers to its inverted lists: `scan` must outlive it."""
    faiss = _faiss()
    if isinstance(scan, faiss.IndexIVFPQFastScan):
        empty = faiss.IndexIVFPQFastScan(scan.quantizer, scan.d, scan.nlist, scan.pq.M, scan.pq.nbits, scan.metric_type)
        empty.by_residual = scan.by_residual
    else:
        empty = faiss.IndexPQFastScan(scan.d, scan.pq.M, scan.pq.nbits, scan.metric_type)
    empty.pq = scan.pq
    empty.is_trained = True
    like: Scan = empty
    return like


def empty_scalar_codes_like(codes: Any) -> ScalarCodes:
    """Scalar codes without rows that code as `codes` do."""
    empty = _faiss().IndexScalarQuantizer(codes.d, codes.sq.qtype, codes.metric_type)
    empty.sq = codes.sq
    empty.is_trained = True
    like: ScalarCodes = empty
    return like


def refined(scan: Scan, codes: ScalarCodes) -> Refined:
    """Both stages together. It refers to the two, which must outlive it; rows added to it are added to both."""
    both: Refined = _faiss().IndexRefine(scan, codes)
    return both


def scan_of_rows(scan: Any, start: int, end: int) -> Scan:
    """A copy of the rows from `start` to `end` of a scan without inverted lists; `start` begins a FastScan block."""
    faiss = _faiss()
    packed = faiss.rev_swig_ptr(scan.codes.get(), scan.codes.size())
    part = empty_scan_like(scan)
    padded = -(-(end - start) // FASTSCAN_BLOCK) * FASTSCAN_BLOCK
    row_bytes = scan.M2 // 2
    codes = packed[start * row_bytes : (start + padded) * row_bytes]
    raw: Any = part
    raw.codes.resize(len(codes))
    faiss.memcpy(raw.codes.get(), faiss.swig_ptr(codes), len(codes))
    raw.ntotal, raw.ntotal2 = end - start, padded
    return part


def scalar_codes_of_rows(codes: Any, start: int, end: int) -> ScalarCodes:
    """A view of the rows from `start` to `end` of scalar codes, not a copy: `codes` must outlive it."""
    faiss = _faiss()
    part = empty_scalar_codes_like(codes)
    view = codes_in_memory(codes)[start * codes.code_size : end * codes.code_size]
    raw: Any = part
    raw.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(view), len(view), codes.codes.owner)
    raw.ntotal = end - start
    return part


def codes_in_memory(codes: Any) -> NDArray[np.uint8]:
    """A view of the bytes of all scalar codes, memory-mapped ones included: uint8 [rows · code_size]."""
    view: NDArray[np.uint8] = _faiss().rev_swig_ptr(codes.codes.data(), int(codes.ntotal) * codes.code_size)
    return view


def scan_bytes_per_row(scan: Any) -> float:
    """The bytes that a scan holds for each row."""
    return float(scan.M2 / 2)


def inverted_lists(scan: object) -> int | None:
    """The number of inverted lists of a scan; None if it has none."""
    return getattr(scan, "nlist", None)


# Two stages: searching


def search_refined(
    both: Any, queries: Vectors, count: int, *, k_factor: float, nprobe: int | None
) -> tuple[Scores, Rows]:
    """The nearest rows by both stages; the scan finds `k_factor` candidates for each row wanted.

    `nprobe`: how many inverted lists to scan; None for a scan without.
    """
    parameters = _faiss().IndexRefineSearchParameters(k_factor=k_factor, base_index_params=_probes(nprobe))
    found: tuple[Scores, Rows] = both.search(queries, count, params=parameters)
    return found


def search_scan(scan: Any, queries: Vectors, count: int, *, nprobe: int | None) -> tuple[Scores, Rows]:
    """The nearest rows by the scan alone."""
    found: tuple[Scores, Rows] = scan.search(queries, count, params=_probes(nprobe))
    return found


def search_scalar_codes(codes: Any, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
    """The nearest of the rows in the mask, bool [rows] (None: all rows). Every row is scored from its scalar codes."""
    parameters = None
    if mask is not None:
        faiss = _faiss()
        # The selector refers to the packed bits, which live until this function returns.
        packed = np.packbits(mask, bitorder="little")
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(packed))
    found: tuple[Scores, Rows] = codes.search(queries, count, params=parameters)
    return found


def _probes(nprobe: int | None) -> Any:
    return None if nprobe is None else _faiss().SearchParametersIVF(nprobe=nprobe)


# Files


def read_mapped_scan(path: Path) -> Scan:
    """The scan in a file, memory-mapped as far as FAISS supports it. Raises RuntimeError for any other file."""
    scan: Scan = _read_mapped(path)
    return scan


def read_mapped_scalar_codes(path: Path) -> ScalarCodes:
    """The scalar codes in a file, memory-mapped. Raises RuntimeError for any other file."""
    codes: ScalarCodes = _read_mapped(path)
    return codes


def _read_mapped(path: Path) -> Any:
    faiss = _faiss()
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise RuntimeError(f"{path} holds an index for another metric, expected inner products.")
    return index


def write_scan(scan: Scan, path: Path) -> None:
    """Write a scan to a file."""
    _faiss().write_index(scan, str(path))


class ScalarCodesWriter:
    """Writes vectors as scalar codes to an index file, without keeping all codes in memory."""

    def __init__(self, codes: Any, stream: Any) -> None:
        self._codes = codes
        self._stream = stream
        self.rows = 0

    def append(self, vectors: Vectors) -> None:
        """Code vectors, float32 [n, D], as further rows."""
        self._stream.write(self._codes.sa_encode(vectors).tobytes())
        self.rows += len(vectors)


@contextmanager
def write_scalar_codes(codes: Any, path: Path) -> Iterator[ScalarCodesWriter]:
    """Write an index file row by row, with the quantiser of `codes`, which are trained and empty."""
    header = bytearray(_faiss().serialize_index(codes).tobytes())
    with path.open("wb") as stream:
        stream.write(header)
        writer = ScalarCodesWriter(codes, stream)
        yield writer
        # An IndexScalarQuantizer's file holds the number of vectors at byte 8, and the number of bytes of the codes
        # right before the codes.
        header[8:16] = writer.rows.to_bytes(8, "little")
        header[-8:] = (writer.rows * codes.code_size).to_bytes(8, "little")
        stream.seek(0)
        stream.write(header)


# Flat indexes, for the process of the GPU (gpu/)


def faiss_with_gpu() -> Any:
    """FAISS with its GPU classes, for gpu/on_gpu.py alone. Raises EngineMissing if this build has none.

    Never call it in the server's process: FAISS aborts where a kernel is missing.
    """
    faiss = _faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        raise EngineMissing(f"The installed FAISS {faiss.__version__} is a build for the CPU. {GPU_HINT}")
    return faiss


def flat_index(dim: int) -> FlatIndex:
    """An empty index that holds vectors as float16 in memory, and compares a query with all of them."""
    faiss = _faiss()
    index: FlatIndex = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    return index


# k-means (kmeans.py)


def train_centroids(vectors: Vectors, count: int) -> Vectors:
    """The centroids, float32 [count, width], of at least as many vectors, float32 [n, width]."""
    width = vectors.shape[1]
    # Zeros change no distance, and FAISS's kernel for up to 16 dimensions takes four times as long as the one for more.
    padded = np.pad(np.asarray(vectors, dtype=np.float32), ((0, 0), (0, max(0, _LEAST_WIDTH - width))))
    # FAISS warns of fewer than 39 vectors a centroid, and draws some of more than 256.
    kmeans = _faiss().Kmeans(
        padded.shape[1],
        count,
        niter=_CENTROID_ROUNDS,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    kmeans.train(np.ascontiguousarray(padded))
    centroids = np.asarray(kmeans.centroids, dtype=np.float32).reshape(count, padded.shape[1])
    return np.ascontiguousarray(centroids[:, :width])


def _faiss() -> Any:
    # Looked up instead of imported: a search makes several such calls.
    if (faiss := sys.modules.get("faiss")) is None:
        require_faiss()
        faiss = sys.modules["faiss"]
    return faiss
