"""What a gallery's database takes on the disk. SQLite's pages: https://www.sqlite.org/fileformat2.html#b_tree_pages"""

from __future__ import annotations

import math
from typing import Protocol

from askew_server.planning.figures import Constants, Figure
from askew_server.planning.memory import index_of, sizes_until

_PAGE = 4_096
_PAGE_HEAD = 8
_CELL_HEAD = 9
"""Length, row number, and the pointer to the cell."""
_RECORD_HEAD = 12
"""The types of the columns, and the checksum."""
_MOST_IN_PAGE = _PAGE - 35
_LEAST_IN_PAGE = (_PAGE - 12) * 32 // 255 - 23


class Items(Protocol):
    """What an item consists of, in bytes; `dim`: components of a vector."""

    @property
    def dim(self) -> int: ...
    @property
    def id_bytes(self) -> int: ...
    @property
    def payload_bytes(self) -> int: ...
    @property
    def picture_bytes(self) -> float | None: ...


def disk_figures(items: int, each: Items, constants: Constants) -> list[Figure]:
    """The disk of one machine, and what it consists of."""
    row, photo, picture = (constants[name] for name in ("database_item_bytes", "database_photo_bytes", "picture_bytes"))
    of_picture = picture.value if each.picture_bytes is None else each.picture_bytes
    has_pictures = of_picture > 0
    item = vector_bytes(each.dim) + 2 * each.id_bytes + each.payload_bytes + row.value + has_pictures * photo.value
    files, rebuild = _index_files(items, each.dim)
    # As memory.py does: on its way, the same gallery had the index of fewer items, which may have been larger.
    largest = max(sum(_index_files(size, each.dim)) for size in sizes_until(items))
    used = (row, photo) if has_pictures else (row,)
    return [
        Figure(
            "database",
            items * item,
            "B",
            "items × (the vector in SQLite's pages + twice the id + payload + database_item_bytes + database_photo_bytes)",
            used,
        ),
        Figure("files of the index", files, "B", "what is mapped, and what is read into memory at start"),
        Figure("files of a rebuild", rebuild, "B", "the next index is written beside the older one"),
        Figure(
            "pictures",
            items * of_picture,
            "B",
            "items × picture_bytes" if each.picture_bytes is None else f"items × {of_picture:g} (--picture-bytes)",
            (picture,) if each.picture_bytes is None else (),
        ),
        Figure(
            "disk",
            items * (item + of_picture) + largest,
            "B",
            "database + pictures + files of the index and of a rebuild, and no less for these than when the gallery was smaller",
            used,
        ),
    ]


def _index_files(items: int, dim: int) -> tuple[float, float]:
    """The bytes of an index's files, and of those that its rebuild writes beside them."""
    index = index_of(items, dim)
    files = index.bytes_mapped + index.bytes_memory if index.bytes_mapped else 0
    return float(files), float(index.build_bytes_disk)


def vector_bytes(dim: int) -> float:
    """The bytes of the database that one float16 vector of `dim` components takes, with the unused ends of pages."""
    record = 2 * dim + _RECORD_HEAD
    if record <= _MOST_IN_PAGE:
        return _share_of_page(record + _CELL_HEAD)
    # What does not fit into a page goes on in pages of its own.
    kept = _LEAST_IN_PAGE + (record - _LEAST_IN_PAGE) % (_PAGE - 4)
    if kept > _MOST_IN_PAGE:
        kept = _LEAST_IN_PAGE
    further = math.ceil((record - kept) / (_PAGE - 4))
    return _share_of_page(kept + _CELL_HEAD + 4) + further * _PAGE


def _share_of_page(cell: int) -> float:
    return _PAGE / ((_PAGE - _PAGE_HEAD) // cell)
