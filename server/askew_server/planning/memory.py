"""The memory of a gallery's machine: the server, the index, and the mapped files that searches read."""

from __future__ import annotations

from askew_client.contract.indexes import IndexEstimate, IndexKind
from askew_server.index.planning import EXACT_UP_TO, FINE_SCAN_UP_TO, chosen_kind, estimate
from askew_server.index.segmented import MAX_FRESH, MIN_TAIL_TO_REBUILD
from askew_server.planning.figures import Constants, Figure

_SHARE_BEFORE_REBUILD = 0.25
"""See SegmentedIndex.wants_rebuild, and docs/index.md, "How it stays up to date"."""

_ESTIMATE = "server/askew_server/index/planning.py"


def indexed_kind(items: int, dim: int) -> IndexKind:
    """The kind of index that a gallery of this size gets by itself."""
    return chosen_kind("auto", items, dim, "exact")


def index_of(items: int, dim: int) -> IndexEstimate:
    """The index's memory and files."""
    return estimate(indexed_kind(items, dim), items, dim)


def memory_of(items: int, dim: int, constants: Constants) -> float:
    """The bytes of memory of a machine for a gallery of this size, while its index is rebuilt.

    A gallery of many items was one of few: where a smaller one takes more, because it is exact or has a finer scan, its
    memory counts.
    """
    return max(_memory_of_size(size, dim, constants) for size in sizes_until(items))


def sizes_until(items: int) -> list[int]:
    """This size, and the earlier ones at which the index was last of another kind."""
    return [*(size for size in (EXACT_UP_TO, FINE_SCAN_UP_TO) if size < items), items]


def _memory_of_size(items: int, dim: int, constants: Constants) -> float:
    index = index_of(items, dim)
    own = constants["server_bytes"].value + constants["server_item_bytes"].value * items
    new = _bytes_of_new_items(items, dim)
    return own + index.bytes_memory + index.bytes_mapped + new + index.build_bytes_memory


def _bytes_of_new_items(items: int, dim: int) -> float:
    """What is added before a rebuild begins, a quarter of the index, is in memory: the newest uncoded, the others coded."""
    index = index_of(items, dim)
    if not index.bytes_mapped:
        return 0.0
    share = max(MIN_TAIL_TO_REBUILD / items, _SHARE_BEFORE_REBUILD)
    return 4.0 * MAX_FRESH * dim + share * (index.bytes_memory + index.bytes_mapped)


def memory_figures(items: int, dim: int, constants: Constants) -> list[Figure]:
    """The memory of one machine, and what it consists of."""
    index = index_of(items, dim)
    server = (constants["server_bytes"], constants["server_item_bytes"])
    own = server[0].value + server[1].value * items
    return [
        Figure("memory of the server", own, "B", "server_bytes + server_item_bytes × items", server),
        Figure("memory of the index", index.bytes_memory, "B", f"codes and labels in memory: {_ESTIMATE}"),
        Figure("mapped files of the index", index.bytes_mapped, "B", f"8-bit codes, in the page cache: {_ESTIMATE}"),
        Figure(
            "memory of new items",
            _bytes_of_new_items(items, dim),
            "B",
            "what is outside the index before a rebuild begins, a quarter of it or 20,000 items: docs/index.md",
        ),
        Figure("memory of a rebuild", index.build_bytes_memory, "B", f"in a child process: {_ESTIMATE}"),
        Figure(
            "memory",
            memory_of(items, dim, constants),
            "B",
            "server + index + mapped files + new items + rebuild, and no less than the same gallery needed when it was smaller",
            server,
        ),
    ]
