"""WebP files without the chunks EXIF, XMP and ICCP, and any other that does not decide pixels.

A chunk of metadata whose length is damaged is passed over: the file is read on from the next chunk of a picture. The chunk
VP8X repeats what a still picture says of itself, so its damage does not matter, either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from askew_client.encoding.containers.orientation import UPRIGHT, orientation_of
from askew_client.encoding.containers.pieces import Picture, Pieces, Source

_HEADER_BYTES = 12
_KEPT = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_PICTURES = frozenset({b"ANMF", b"VP8 ", b"VP8L"})
_EXTENDED_BYTES = 10
_EXTENDED = b"VP8X" + _EXTENDED_BYTES.to_bytes(4, "little")
_ALPHA_FLAG = 0x10
_METADATA_FLAGS = 0x20 | 0x08 | 0x04
_SEARCHED = 1 << 26
_LONGEST_EXIF = 1 << 24


def read_webp(stream: BinaryIO) -> Picture:
    """The file without its metadata, and its orientation. Cannot raise but for an error of reading."""
    source = Source(stream)
    size = source.size
    chunks, orientation, extended = Pieces(), UPRIGHT, b""
    kinds: dict[bytes, int] = {}
    position, total, dropped = _HEADER_BYTES, 4, None
    while position + 8 <= size:
        head = source.at(position, 8)
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"VP8X":
            # It has one length, whatever it says.
            length, extended = _EXTENDED_BYTES, source.at(position + 8, _EXTENDED_BYTES)
        end = position + 8 + length + length % 2
        if not (kind.isascii() and kind.decode("latin1").isprintable()) or (end > size + 1 and kind not in _KEPT):
            found = (
                None
                if kinds.keys() & _PICTURES
                else _next_picture(source, position if dropped is None else dropped + 8)
            )
            if found is None:
                break
            position, dropped = found, None
            continue
        if kind == b"EXIF" and orientation == UPRIGHT:
            orientation = orientation_of(source.at(position + 8, min(length, _LONGEST_EXIF)))
        if kind in _KEPT:
            kinds.setdefault(kind, position + 8)
            if kind != b"VP8X":
                chunks.keep(min(position, size), min(end, size))
                total += end - position
            if end == size + 1:
                # Some writers leave out the byte that makes the last chunk's length even.
                chunks.add(b"\0")
            dropped = None
        else:
            dropped = position
        position = end
    first = _first_chunk(source, kinds, extended)
    whole = Pieces()
    whole.add(b"RIFF" + min(total + len(first), 2**32 - 1).to_bytes(4, "little") + b"WEBP" + first)
    whole.extend(chunks)
    return Picture(whole.joined(stream), orientation)


def _first_chunk(source: Source, kinds: Mapping[bytes, int], extended: bytes) -> bytes:
    """The chunk VP8X, if the picture needs one: made anew from a still picture, whose own chunks say what it says.

    `kinds`: where the content of the first chunk of each kind begins. `extended`: the content of the file's VP8X.
    """
    if kinds.keys() & {b"ANIM", b"ANMF"}:
        return _EXTENDED + bytes([extended[0] & ~_METADATA_FLAGS]) + extended[1:] if extended else b""
    if b"ALPH" not in kinds or b"VP8 " not in kinds:
        return b""
    # A key frame: three bytes, its mark, and 14 bits of each side.
    sides = source.at(kinds[b"VP8 "] + 6, 4)
    width, height = (int.from_bytes(sides[place : place + 2], "little") & 0x3FFF for place in (0, 2))
    canvas = b"".join(max(0, side - 1).to_bytes(3, "little") for side in (width, height))
    return _EXTENDED + bytes([_ALPHA_FLAG, 0, 0, 0]) + canvas


def _next_picture(source: Source, position: int) -> int | None:
    """Where the next chunk of a picture begins; None if there is none."""
    block = source.at(position, _SEARCHED)
    places = [place for kind in _KEPT if (place := _find(block, kind)) is not None]
    return position + min(places) if places else None


def _find(block: bytes, kind: bytes) -> int | None:
    place = block.find(kind)
    while place >= 0:
        content = block[place + 8 : place + 18]
        is_picture = {
            b"VP8 ": content[3:6] == b"\x9d\x01\x2a",
            b"VP8L": content[:1] == b"\x2f",
            b"ANIM": block[place + 4 : place + 8] == b"\x06\0\0\0",
        }
        if is_picture.get(kind, True) and int.from_bytes(block[place + 4 : place + 8], "little") < len(block):
            return place
        place = block.find(kind, place + 1)
    return None
