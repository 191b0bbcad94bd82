"""What a gallery's database takes on the disk. SQLite's pages: https://www.sqlite.org/fileformat2.html#b_tree_pages"""

from __future__ import annotations

import math

_PAGE = 4_096
_PAGE_HEAD = 8
_CELL_HEAD = 9
"""Length, row number, and the pointer to the cell."""
_RECORD_HEAD = 12
"""The types of the columns, and the checksum."""
_MOST_IN_PAGE = _PAGE - 35
_LEAST_IN_PAGE = (_PAGE - 12) * 32 // 255 - 23


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
