"""Choose the kind of index for a gallery, and check that memory and disk suffice for it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil

from askew_client.contract.indexes import IndexEstimate, IndexKind, WantedKind
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.index.two_stage import sub_vectors
from askew_server.index.types import CodedKind

EXACT_UP_TO = 20_000
"""Up to this many vectors, comparing all of them is fast enough: about 5 ms at 2,048 components on one core."""

EXACT_AGAIN_UP_TO = EXACT_UP_TO // 2
"""A gallery that shrinks to this size becomes exact again. The gap keeps it from switching back and forth."""

MIN_CODED = 1_000
"""Fewer vectors are too few to train and calibrate codes."""

FINE_SCAN_UP_TO = 300_000
"""Up to this many vectors, a scan with twice the codes is also tried; beyond, the scan dominates the search time."""

TRAINING_BYTES = 256 << 20
MAX_TRAINING = 65_536
"""Codes are trained on at most this many vectors, and this many bytes of float32."""

_USABLE_SHARE = 0.9
_CHILD_BYTES = 300 << 20


def chosen_kind(wanted: WantedKind, count: int, dim: int, current: IndexKind) -> IndexKind:
    """The kind of index for `count` vectors of `dim` components in a gallery that has `current` now.

    "auto" never chooses a GPU or inverted lists: the user must ask for them.
    """
    if wanted == "exact" or count < MIN_CODED or not _can_be_coded(dim):
        return "exact"
    if wanted == "gpu-exact":
        return "gpu-exact"
    if wanted == "auto":
        enough = EXACT_UP_TO if current == "exact" else EXACT_AGAIN_UP_TO
        return "two-stage" if count > enough else "exact"
    return "ivf-two-stage" if wanted == "ivf-two-stage" else "two-stage"


def built_kind(kind: IndexKind) -> Literal["exact"] | CodedKind:
    """The kind that is built for this one: beside the GPU, an index of the CPU stays ready to answer in its place."""
    if kind == "gpu-exact":
        return "two-stage"
    assert kind != "milvus", "Milvus builds its own index"
    return kind


def lists_for(count: int) -> int:
    """The number of inverted lists for `count` vectors: about twice the square root, a power of two."""
    return 1 << max(4, round(math.log2(2 * math.sqrt(count))))


def scans_for(kind: IndexKind, count: int, dim: int) -> list[int]:
    """The numbers of sub-vectors to try for the scan; the build keeps the fastest at equal recall."""
    possible = sub_vectors(dim)
    return possible if kind == "two-stage" and count <= FINE_SCAN_UP_TO else possible[:1]


def training_size(dim: int) -> int:
    """The number of vectors that codes are trained on."""
    return min(MAX_TRAINING, TRAINING_BYTES // (4 * dim))


def estimate(kind: IndexKind, count: int, dim: int) -> IndexEstimate:
    """Estimate the memory and disk for an index of this kind. Raises AskewError for a dimension that cannot be coded."""
    raw = 4 * count * dim
    if kind == "exact":
        return _estimate(raw, 0, raw, 0)
    if kind == "gpu-exact":
        return estimate(built_kind(kind), count, dim).model_copy(update={"bytes_gpu": raw // 2})
    scan = count * (scans_for(kind, count, dim)[-1] // 2 + 9)
    if kind == "ivf-two-stage":
        scan += 8 * count + 4 * dim * lists_for(count)
    mapped = count * (dim + 8)
    # The sample and FAISS's copy of it; the scalar codes are written to their file as they are computed.
    building = 2 * 4 * dim * min(count, training_size(dim)) + 2 * scan + _CHILD_BYTES
    return _estimate(scan, mapped, building, scan + mapped)


def _estimate(memory: int, mapped: int, build_memory: int, build_disk: int) -> IndexEstimate:
    return IndexEstimate(
        bytes_memory=memory, bytes_mapped=mapped, build_bytes_memory=build_memory, build_bytes_disk=build_disk
    )


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The free memory of the machine or of the container, whichever is less, in bytes."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        kept = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        # Files in the page cache count as used, but the system drops them when it needs memory.
        return max(0, min(free, limit - used + int(kept.get("inactive_file", 0))))
    except (OSError, ValueError):
        return free


def refuse_too_large(
    kind: IndexKind, estimated: IndexEstimate, folder: Path, free_memory: Callable[[], int] = free_memory
) -> None:
    """Raise Refusal (would-not-fit) when the free memory, or the disk of `folder`, is too small for this build."""
    memory, disk = free_memory(), shutil.disk_usage(_existing(folder)).free
    for what, needed, free in (
        ("memory", estimated.build_bytes_memory, memory),
        ("disk", estimated.build_bytes_disk, disk),
    ):
        if needed > _USABLE_SHARE * free:
            raise Refusal(
                ProblemKind.WOULD_NOT_FIT,
                f"Building the {kind} index needs about {_readable(needed)} of {what}, and only {_readable(free)} are "
                f"free. Free some {what}, or choose another kind of index.",
                {"kind": kind, "what": what, "needed_bytes": needed, "free_bytes": free},
            )


def _can_be_coded(dim: int) -> bool:
    try:
        sub_vectors(dim)
    except AskewError:
        return False
    return True


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.resolve().parents) if each.exists())


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
