"""PNG files without any chunk that does not decide pixels.

Kept are IHDR, PLTE, tRNS, IDAT and IEND. Animation chunks are dropped: the first frame, or the picture for viewers that
cannot animate, is in IDAT. A chunk of metadata whose length is damaged is passed over: the file is read on from the next
chunk of pixels whose CRC is right.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

from askew_client.encoding.containers.orientation import UPRIGHT, orientation_of
from askew_client.encoding.containers.pieces import Picture, Pieces, length_of, read_at

_SIGNATURE_BYTES = 8
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_SEARCHED = 1 << 26
"""The bytes behind damage that are searched for the next chunk, and, four times, over which CRCs are computed."""
_LONGEST_EXIF = 1 << 24


def read_png(stream: BinaryIO) -> Picture:
    """The file without its metadata, and its orientation. Cannot raise but for an error of reading."""
    size = length_of(stream)
    pieces, orientation = Pieces(), UPRIGHT
    pieces.keep(0, _SIGNATURE_BYTES)
    position, dropped, colour = _SIGNATURE_BYTES, None, -1
    while position + 8 <= size:
        head = read_at(stream, position, 8)
        kind, length = head[4:], int.from_bytes(head[:4])
        end = position + 12 + length
        if not (kind.isalpha() and kind.isascii()) or (end > size and kind != b"IDAT"):
            # The length of the chunk before may be wrong, or this one's.
            found = _next_kept(stream, position if dropped is None else dropped + 8)
            if found is None:
                break
            position, dropped = found, None
            continue
        if kind == b"IHDR":
            colour = (read_at(stream, position + 17, 1) or b"\0")[0]
        if kind in _KEPT and (kind != b"tRNS" or _is_transparency(stream, position, length, colour)):
            pieces.keep(position, min(end, size))
            dropped = None
        else:
            if kind == b"eXIf" and orientation == UPRIGHT:
                orientation = orientation_of(read_at(stream, position + 8, min(length, _LONGEST_EXIF)))
            dropped = position
        if kind == b"IEND":
            break
        position = end
    return Picture(pieces.joined(stream), orientation)


def _is_transparency(stream: BinaryIO, position: int, length: int, colour: int) -> bool:
    """Whether a chunk tRNS is whole and fits the picture's type of colour; libpng drops it otherwise."""
    fits = {0: length == 2, 2: length == 6, 3: 1 <= length <= 256}.get(colour, False)
    return fits and _is_whole(read_at(stream, position, 12 + length))


def _is_whole(chunk: bytes) -> bool:
    """Whether a chunk, with its length and CRC, has that CRC."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _next_kept(stream: BinaryIO, position: int) -> int | None:
    """Where the next chunk of pixels begins; None if there is none."""
    block = read_at(stream, position, _SEARCHED)
    places = [-1] * len(_KEPT)
    summed, start = 0, 4
    while summed < 4 * _SEARCHED:
        # Only what was passed is searched again: each kind is looked for once over the whole block.
        places = [
            place if place >= start or place == len(block) else _find(block, kind, start)
            for place, kind in zip(places, _KEPT, strict=True)
        ]
        place = min(places)
        if place == len(block):
            return None
        length = int.from_bytes(block[place - 4 : place])
        if place + 8 + length <= len(block):
            summed += length
            if _is_whole(block[place - 4 : place + 8 + length]):
                return position + place - 4
        start = place + 1
    return None


def _find(block: bytes, kind: bytes, start: int) -> int:
    place = block.find(kind, start)
    return len(block) if place < 0 else place
