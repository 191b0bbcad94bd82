"""How a photo was held, from its EXIF data."""

from __future__ import annotations

import struct

UPRIGHT = 1
EXIF_HEADER = b"Exif\0\0"
SIDEWAYS = frozenset({5, 6, 7, 8})
"""The orientations that swap height and width."""

_TAG = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, that EXIF data states: TIFF, with or without the header `Exif\\0\\0`. Cannot raise.

    1 (upright) for anything that is damaged. As in browsers, only one SHORT counts, and the first of several entries.
    """
    tiff = exif.removeprefix(EXIF_HEADER)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    if first + 2 > len(tiff):
        return UPRIGHT
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    whole = (len(tiff) - first - 2) // _ENTRY_BYTES
    for number in range(min(count, whole)):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + number * _ENTRY_BYTES)
        if tag == _TAG:
            return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
