"""JPEG files without APPn and COM segments, except for what decides the colours: JFIF and Adobe.

ISO 10918-1, annex B. A segment of metadata whose length is damaged is passed over, too: the file is read on from where
a whole list of segments up to the first scan begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from askew_client.encoding.containers.orientation import EXIF_HEADER, UPRIGHT, orientation_of
from askew_client.encoding.containers.pieces import Picture, Pieces, Source

_EOI, _SOS, _DQT, _COM, _APP0, _APP1, _APP14, _APP15 = 0xD9, 0xDA, 0xDB, 0xFE, 0xE0, 0xE1, 0xEE, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, *range(0xDB, 0xE0)})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"

_LONGEST = 65_537
"""The bytes of the longest segment: its marker, and what its length can say."""
_MOST_TRIES = 20_000
"""Segments that are looked at in search of the way on behind damage: a bound on the work for a hostile file."""


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int
    after_junk: bool = False

    @property
    def is_metadata(self) -> bool:
        return _APP0 <= self.marker <= _APP15 or self.marker == _COM


def read_jpeg(stream: BinaryIO) -> Picture:
    """The file without its metadata, and its orientation. Cannot raise but for an error of reading."""
    source = Source(stream)
    size = source.size
    segments = list(_walk(source, size))
    if not _is_sound(source, segments):
        segments = _mended(source, size, segments) or segments
    if not segments or segments[-1].marker != _SOS:
        return Picture(stream, UPRIGHT)
    pieces, exif = Pieces(), None
    pieces.add(b"\xff\xd8")
    for segment in segments[:-1]:
        if not segment.is_metadata:
            pieces.keep(segment.start, segment.end)
        elif segment.marker in {_APP0, _APP1, _APP14}:
            content = source.at(segment.start + 4, segment.end - segment.start - 4)
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


def _walk(source: Source, size: int) -> Iterator[_Segment]:
    """The segments up to the first scan, as decoders find them: what is between segments is passed over."""
    position, after_junk = 2, False
    while True:
        head = source.at(position, 4)
        if len(head) < 4:
            return
        if head[0] != 0xFF or head[1] == 0:
            position, after_junk = _next_mark(source, position + 1, size), True
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


def _next_mark(source: Source, position: int, size: int) -> int:
    while position < size:
        block = source.at(position, 1 << 16)
        found = block.find(b"\xff")
        if found >= 0:
            return position + found
        position += max(1, len(block))
    return size


def _is_sound(source: Source, segments: list[_Segment]) -> bool:
    """Whether a walk came to a scan, saw a frame with its tables, found nothing between segments, and cut none short."""
    return (
        bool(segments)
        and segments[-1].marker == _SOS
        and any(segment.marker in _FRAMES for segment in segments)
        and not any(segment.after_junk for segment in segments)
        and _has_its_tables(source, segments)
        and not _is_cut(source, segments)
    )


def _has_its_tables(source: Source, segments: list[_Segment]) -> bool:
    """Whether the quantisation tables that the frame names are there: a wrong length may have swallowed one."""
    tables: set[int] = set()
    for segment in segments:
        if segment.marker == _DQT:
            content, place = source.at(segment.start + 4, segment.end - segment.start - 4), 0
            while place < len(content):
                tables.add(content[place] & 15)
                place += 129 if content[place] >> 4 else 65
    frame = next(segment for segment in segments if segment.marker in _FRAMES)
    return tables >= set(source.at(frame.start + 10, frame.end - frame.start - 10)[2::3])


def _is_cut(source: Source, segments: list[_Segment]) -> bool:
    """Whether EXIF data ends within its small picture, before a scan: then its length is wrong, and that picture follows."""
    for segment in segments:
        if segment.marker == _APP1:
            content = source.at(segment.start + 4, segment.end - segment.start - 4)
            small = content.rfind(b"\xff\xd8\xff")
            if small > content.rfind(b"\xff\xd9") and content.find(b"\xff\xda", small) < 0:
                return True
    return False


def _mended(source: Source, size: int, segments: list[_Segment]) -> list[_Segment] | None:
    """The segments if one of metadata is given another length; None if no length leads to a scan.

    A small picture within EXIF data has such segments, too: a picture outside of any other counts, then the largest, then
    the first.
    """
    tries = iter(range(_MOST_TRIES))
    for number, segment in enumerate(segments):
        if segment.is_metadata:
            block = source.at(segment.start, _LONGEST + 1)
            found: dict[int, tuple[bool, int, int, list[_Segment]]] = {}
            place = 4
            while (place := block.find(b"\xff", place)) >= 0:
                rest = _strict(source, size, segment.start + place, tries)
                if rest is not None:
                    # The first list that leads to a scan is the whole one.
                    outside = block.rfind(b"\xff\xd8\xff", 0, place) <= block.rfind(b"\xff\xd9", 0, place)
                    found.setdefault(rest[-1].start, (outside, _area(source, rest), -place, rest))
                place += 1
            if found:
                _, _, place, rest = max(found.values(), key=lambda each: each[:3])
                return [*segments[:number], _Segment(segment.marker, segment.start, segment.start - place), *rest]
    return None


def _area(source: Source, segments: list[_Segment]) -> int:
    """The pixels of the frame."""
    frame = next(segment for segment in segments if segment.marker in _FRAMES)
    sides = source.at(frame.start + 5, 4)
    return int.from_bytes(sides[:2]) * int.from_bytes(sides[2:])


def _strict(source: Source, size: int, position: int, tries: Iterator[int]) -> list[_Segment] | None:
    """The segments from a position to a scan, if nothing but whole segments and a frame is there; otherwise None."""
    segments: list[_Segment] = []
    while next(tries, None) is not None:
        head = source.at(position, 4)
        end = position + 2 + int.from_bytes(head[2:])
        if len(head) < 4 or head[0] != 0xFF or end < position + 4 or end > size:
            return None
        segment = _Segment(head[1], position, end)
        segments.append(segment)
        if head[1] == _SOS:
            return segments if _is_sound(source, segments) else None
        if not segment.is_metadata and head[1] not in _FRAMES | _TABLES:
            return None
        position = end
    return None
