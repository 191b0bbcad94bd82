"""The format of a photo file, by its first bytes."""

from __future__ import annotations

from typing import Literal

Format = Literal["JPEG", "PNG", "WEBP", "HEIF", "AVIF"]
HEAD_BYTES = 64
"""How many of a file's first bytes tell its format."""

_PNG = b"\x89PNG\r\n\x1a\n"
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def format_of(head: bytes) -> Format | None:
    """The format of a file that starts with these bytes, at least 16 and best `HEAD_BYTES`; None if it is no photo."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(_PNG):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _format_by_brands(head[: int.from_bytes(head[:4])])
    return None


def _format_by_brands(box: bytes) -> Format | None:
    """`box`: a box `ftyp`: its main brand at byte 8, and the others from byte 16 on."""
    brands = {box[8:12], *(box[place : place + 4] for place in range(16, len(box) - 3, 4))}
    # `mif1` says only that it is one of the two.
    if brands & _AVIF_BRANDS and not brands & (_HEIF_BRANDS - {b"mif1", b"mif2", b"msf1"}):
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None
