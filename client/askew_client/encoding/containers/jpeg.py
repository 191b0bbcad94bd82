"""JPEG files without APPn and COM segments, except for what decides the colours: JFIF and Adobe.

ISO 10918-1, annex B. A segment of metadata whose length is damaged is passed over, too: the file is read on from where
a whole list of segments up to the first scan begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from askew_client.encoding.containers.orientation import EXIF_HEADER, UPRIGHT, orientation_of
from askew_client.encoding.containers.pieces import Picture, Pieces, length_of, read_at

_SOI, _EOI, _SOS, _COM, _APP0, _APP1, _APP14, _APP15 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xEE, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, *range(0xDB, 0xE0)})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"

_LONGEST = 65_537
"""The bytes of the longest segment: its marker, and what its length can say."""
_MOST_TRIES = 20_000
"""Segments that are looked at in search of the way on behind damage: a bound on the work for a hostile file."""


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int
    end: int
    after_junk: bool = False

    @property
    def is_metadata(self) -> bool:
        return _APP0 <= self.marker <= _APP15 or self.marker == _COM


def read_jpeg(stream: BinaryIO) -> Picture:
    """The file without its metadata, and its orientation. Cannot raise but for an error of reading."""
    size = length_of(stream)
    segments = list(_walk(stream, size))
    if not _is_clean(segments):
        segments = _mended(stream, size, segments) or segments
    if not segments or segments[-1].marker != _SOS:
        return Picture(stream, UPRIGHT)
    pieces, exif = Pieces(), None
    pieces.add(b"\xff\xd8")
    for segment in segments[:-1]:
        if not segment.is_metadata:
            pieces.keep(segment.start, segment.end)
        elif segment.marker in {_APP0, _APP1, _APP14}:
            content = read_at(stream, segment.start + 4, segment.end - segment.start - 4)
            if segment.marker == _APP1 and exif is None and content.startswith(EXIF_HEADER):
                exif = content
            pieces.add(_colour_segment(segment.marker, content))
    pieces.keep(segments[-1].start, size)
    return Picture(pieces.joined(stream), orientation_of(exif or b""))


def _colour_segment(marker: int, content: bytes) -> bytes:
    """A segment with the only facts of JFIF or Adobe that decoding reads; empty for other metadata."""
    if marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
        return _JFIF
    if marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
        return _ADOBE + content[11:12]
    return b""


def _walk(stream: BinaryIO, size: int) -> Iterator[_Segment]:
    """The segments up to the first scan, as decoders find them: what is between segments is passed over."""
    position, after_junk = 2, False
    while True:
        head = read_at(stream, position, 4)
        if len(head) < 4:
            return
        if head[0] != 0xFF or head[1] == 0:
            position, after_junk = _next_mark(stream, position + 1, size), True
        elif head[1] == 0xFF:
            position += 1
        elif head[1] in _WITHOUT_LENGTH:
            if head[1] == _EOI:
                return
            position, after_junk = position + 2, True
        else:
            end = min(size, position + 2 + max(2, int.from_bytes(head[2:])))
            yield _Segment(head[1], position, end, after_junk)
            if head[1] == _SOS:
                return
            position, after_junk = end, False


def _next_mark(stream: BinaryIO, position: int, size: int) -> int:
    while position < size:
        block = read_at(stream, position, 1 << 16)
        found = block.find(b"\xff")
        if found >= 0:
            return position + found
        position += max(1, len(block))
    return size


def _is_clean(segments: list[_Segment]) -> bool:
    """Whether the walk came to a scan, saw a frame, and found nothing between segments."""
    return (
        bool(segments)
        and segments[-1].marker == _SOS
        and any(segment.marker in _FRAMES for segment in segments)
        and not any(segment.after_junk for segment in segments)
    )


def _mended(stream: BinaryIO, size: int, segments: list[_Segment]) -> list[_Segment] | None:
    """The segments if one of metadata is given another length; None if no length leads to a scan."""
    tries = iter(range(_MOST_TRIES))
    for number, segment in enumerate(segments):
        if segment.is_metadata:
            block = read_at(stream, segment.start, 3 * _LONGEST)
            place = 4
            while 0 <= (place := block.find(b"\xff", place)) < _LONGEST:
                if block[place + 1 : place + 3] == b"\xd8\xff":
                    # A small picture within EXIF data has the same segments.
                    end = block.find(b"\xff\xd9", place)
                    place = end + 2 if end >= 0 else len(block)
                    continue
                rest = _strict(stream, size, segment.start + place, tries)
                if rest is not None:
                    cut = _Segment(segment.marker, segment.start, segment.start + place)
                    return [*segments[:number], cut, *rest]
                place += 1
    return None


def _strict(stream: BinaryIO, size: int, position: int, tries: Iterator[int]) -> list[_Segment] | None:
    """The segments from a position to a scan, if nothing but whole segments and a frame is there; otherwise None."""
    segments: list[_Segment] = []
    while next(tries, None) is not None:
        head = read_at(stream, position, 4)
        end = position + 2 + int.from_bytes(head[2:])
        if len(head) < 4 or head[0] != 0xFF or end < position + 4 or end > size:
            return None
        segment = _Segment(head[1], position, end)
        segments.append(segment)
        if head[1] == _SOS:
            return segments if _is_clean(segments) else None
        if not segment.is_metadata and head[1] not in _FRAMES | _TABLES:
            return None
        position = end
    return None
