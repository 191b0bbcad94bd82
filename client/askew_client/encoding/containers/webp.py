"""WebP files without the chunks EXIF, XMP and ICCP, and any other that does not decide pixels.

A chunk of metadata whose length is damaged is passed over: the file is read on from the next chunk of a picture.
"""

from __future__ import annotations

from typing import BinaryIO

from askew_client.encoding.containers.orientation import UPRIGHT, orientation_of
from askew_client.encoding.containers.pieces import Picture, Pieces, length_of, read_at

_HEADER_BYTES = 12
_KEPT = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_PICTURES = (b"ANMF", b"VP8 ", b"VP8L")
_METADATA_FLAGS = 0x20 | 0x08 | 0x04
_SEARCHED = 1 << 26
_LONGEST_EXIF = 1 << 24


def read_webp(stream: BinaryIO) -> Picture:
    """The file without its metadata, and its orientation. Cannot raise but for an error of reading."""
    size = length_of(stream)
    chunks, orientation = Pieces(), UPRIGHT
    position, total, dropped, has_picture = _HEADER_BYTES, 4, None, False
    while position + 8 <= size:
        head = read_at(stream, position, 8)
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        end = position + 8 + length + length % 2
        if not (kind.isascii() and kind.decode("latin1").isprintable()) or (end > size + 1 and kind not in _KEPT):
            found = None if has_picture else _next_picture(stream, position if dropped is None else dropped + 8)
            if found is None:
                break
            position, dropped = found, None
            continue
        if kind == b"EXIF" and orientation == UPRIGHT:
            orientation = orientation_of(read_at(stream, position + 8, min(length, _LONGEST_EXIF)))
        if kind in _KEPT:
            start = position
            if kind == b"VP8X" and length:
                flags = read_at(stream, position + 8, 1) or b"\0"
                chunks.add(head + bytes([flags[0] & ~_METADATA_FLAGS]))
                start += 9
            chunks.keep(min(start, size), min(end, size))
            if end == size + 1:
                # Some writers leave out the byte that makes the last chunk's length even.
                chunks.add(b"\0")
            total += end - position
            has_picture = has_picture or kind in _PICTURES
            dropped = None
        else:
            dropped = position
        position = end
    whole = Pieces()
    whole.add(b"RIFF" + min(total, 2**32 - 1).to_bytes(4, "little") + b"WEBP")
    whole.extend(chunks)
    return Picture(whole.joined(stream), orientation)


def _next_picture(stream: BinaryIO, position: int) -> int | None:
    """Where the next chunk of a picture begins; None if there is none."""
    block = read_at(stream, position, _SEARCHED)
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
