"""HEIF and AVIF files whose EXIF and XMP items no decoder looks for. ISO 23008-12; their places in the file stay the same.

A HEIF file states how it is to be turned outside of its EXIF data (`irot`, `imir`), and decoders turn by that.
"""

from __future__ import annotations

from collections.abc import Iterator

_METADATA = (b"Exif", b"mime")
_UNKNOWN = b"none"
_MOST_ITEMS = 10_000

Box = tuple[bytes, int, int]
"""The kind of a box, and where its content begins and ends."""


def hide_metadata(content: bytes) -> bytes:
    """Rename the items of EXIF and XMP to a kind that no decoder knows. Cannot raise: what is damaged stays as it is."""
    changed = bytearray(content)
    for kind, start, end in _boxes(content, 0, len(content)):
        if kind == b"meta":
            for place in _item_kinds(content, start + 4, end):
                if content[place : place + 4] in _METADATA:
                    changed[place : place + 4] = _UNKNOWN
    return bytes(changed)


def _item_kinds(content: bytes, start: int, end: int) -> Iterator[int]:
    """Where the kind of each item of a box `meta` stands."""
    for kind, inner, inner_end in _boxes(content, start, end):
        if kind == b"iinf":
            first = inner + (6 if content[inner : inner + 1] == b"\0" else 8)
            for entry, place, _ in _boxes(content, first, inner_end):
                if entry == b"infe":
                    yield place + (8 if content[place : place + 1] == b"\x02" else 10)


def _boxes(content: bytes, start: int, end: int) -> Iterator[Box]:
    for _ in range(_MOST_ITEMS):
        if start + 8 > end:
            return
        length, header = int.from_bytes(content[start : start + 4]), 8
        if length == 1:
            length, header = int.from_bytes(content[start + 8 : start + 16]), 16
        elif length == 0:
            length = end - start
        if length < header or start + length > end:
            return
        yield content[start + 4 : start + 8], start + header, start + length
        start += length
