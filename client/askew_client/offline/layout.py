"""The layout of a pack: its head, the order and sizes of its sections, and the lists inside them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from askew_client.contract.errors import DamagedPack
from askew_client.contract.offline_pack import (
    PACK_HEAD_BYTES,
    PACK_MAGIC,
    SECTIONS,
    THUMBNAIL_SECTIONS,
    CodecKind,
    PackHeader,
    PackSection,
    SectionName,
)

RUN = np.dtype([("first", "<u8"), ("count", "<u4")])
"""A run of consecutive labels in the section `labels`."""
LENGTH = np.dtype("<u4")
SCALE = np.dtype("<f4")
ORDER = np.dtype("<u2")
START = np.dtype("<u4")
CODEBOOK = np.dtype("<f2")

_LENGTH_OF_HEADER = struct.Struct("<I")
HEADER_AT = len(PACK_MAGIC) + _LENGTH_OF_HEADER.size


def canonical_json(value: object) -> bytes:
    """A value as UTF-8 JSON with sorted keys and without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def codec_id(kind: CodecKind, size: int, dim: int, section: bytes) -> str:
    """The id of a codec with `size` bytes a code for vectors of `dim` values; `section`: its section's bytes."""
    members = canonical_json({"bytes": size, "dim": dim, "kind": kind})
    return hashlib.sha256(members + section).hexdigest()


def section_names(thumbnail_size: int) -> tuple[SectionName, ...]:
    """The sections of a pack, in their order."""
    return SECTIONS + (THUMBNAIL_SECTIONS if thumbnail_size else ())


def write_head(header: PackHeader) -> bytes:
    """Magic, length and header. Raises ValueError if they are too long for a device's first range."""
    text = canonical_json(header.model_dump(mode="json"))
    if HEADER_AT + len(text) > PACK_HEAD_BYTES:
        raise ValueError(f"expected a head of at most {PACK_HEAD_BYTES} bytes, got {HEADER_AT + len(text)}")
    return PACK_MAGIC + _LENGTH_OF_HEADER.pack(len(text)) + text


def place_sections(header: PackHeader, sizes: Iterable[tuple[SectionName, int, str]]) -> PackHeader:
    """The header with its sections at their offsets. `sizes`: name, size and SHA-256 of each, in their order."""
    listed = list(sizes)
    begin = 0
    # The digits of the offsets are part of the head's length. It only grows with them, so this ends.
    while True:
        sections, offset = [], begin
        for name, size, digest in listed:
            sections.append(PackSection(name=name, offset=offset, size=size, sha256=digest))
            offset += size
        placed = header.model_copy(update={"sections": sections})
        length = len(write_head(placed))
        if length == begin:
            return placed
        begin = length


def read_head(head: bytes, name: str) -> tuple[PackHeader, int]:
    """The header of a pack, checked, and where its sections begin. `head`: the first PACK_HEAD_BYTES of the file, or all.

    `name`: what to call the file in messages. Raises DamagedPack.
    """
    if not head.startswith(PACK_MAGIC):
        raise DamagedPack(
            f"Expected an offline pack, but {name} is another kind of file, or a later format. Fetch the pack of a gallery "
            "from `GET /v1/galleries/NAME/offline-pack/file`, or update Askew."
        )
    if len(head) < HEADER_AT:
        raise _cut(name)
    (length,) = _LENGTH_OF_HEADER.unpack(head[len(PACK_MAGIC) : HEADER_AT])
    end = HEADER_AT + length
    if end > PACK_HEAD_BYTES:
        raise DamagedPack(f"{name} is damaged: its header would have {length} bytes. Fetch it again.")
    if len(head) < end:
        raise _cut(name)
    try:
        header = PackHeader.model_validate_json(head[HEADER_AT:end])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedPack(
            f"{name} is damaged: its header is wrong at {where!r}: {first['msg']}. Fetch it again."
        ) from None
    _check_sections(header, end, name)
    return header, end


def _check_sections(header: PackHeader, begin: int, name: str) -> None:
    expected = section_names(header.thumbnail_size)
    if tuple(section.name for section in header.sections) != expected:
        raise DamagedPack(f"{name} is damaged: its sections are not {', '.join(expected)}. Fetch it again.")
    codec, dim = header.codec, header.dim
    wrong = (codec.bytes != dim) if codec.kind == "int8" else (codec.bytes > dim)
    if wrong:
        raise DamagedPack(f"{name} is damaged: {codec.bytes} bytes do not code {dim} values. Fetch it again.")
    sizes = {
        "codec": codec_size(codec.kind, codec.bytes, dim),
        "codes": header.items * codec.bytes,
        "scales": header.items * SCALE.itemsize,
        "row_lengths": header.items * LENGTH.itemsize,
        "thumbnail_lengths": header.items * LENGTH.itemsize,
    }
    offset = begin
    for section in header.sections:
        if section.offset != offset or section.size != sizes.get(section.name, section.size):
            raise DamagedPack(
                f"{name} is damaged: the section {section.name} is {section.size} bytes at {section.offset}, which is not "
                "where or what it must be. Fetch it again."
            )
        offset += section.size


def pack_size(header: PackHeader) -> int:
    """The bytes of the whole file."""
    last = header.sections[-1]
    return last.offset + last.size


def codec_size(kind: CodecKind, size: int, dim: int) -> int:
    """The bytes of the section `codec`: for "product" the order, the starts, and 256 float16 values a dimension."""
    return 0 if kind == "int8" else ORDER.itemsize * dim + START.itemsize * (size + 1) + 256 * CODEBOOK.itemsize * dim


def runs_of(labels: NDArray[np.int64]) -> bytes:
    """Ascending labels, int64 [n], as the section `labels`."""
    if not len(labels):
        return b""
    begins = np.concatenate(([0], np.flatnonzero(np.diff(labels) != 1) + 1))
    runs = np.empty(len(begins), dtype=RUN)
    runs["first"] = labels[begins]
    runs["count"] = np.diff(np.append(begins, len(labels)))
    return runs.tobytes()


def labels_of(section: bytes, items: int, name: str) -> NDArray[np.int64]:
    """The labels of the section `labels`, int64 [items], ascending. Raises DamagedPack."""
    wrong = DamagedPack(f"{name} is damaged: its labels are not {items} ascending numbers. Fetch it again.")
    if len(section) % RUN.itemsize:
        raise wrong
    runs = np.frombuffer(section, dtype=RUN)
    counts = runs["count"].astype(np.int64)
    if int(counts.sum()) != items or (counts < 1).any() or (runs["first"] >= np.uint64(1 << 62)).any():
        raise wrong
    first = runs["first"].astype(np.int64)
    if (first[1:] < first[:-1] + counts[:-1]).any():
        raise wrong
    ends = np.cumsum(counts)
    labels: NDArray[np.int64] = np.arange(items, dtype=np.int64) + np.repeat(first - (ends - counts), counts)
    return labels


def _cut(name: str) -> DamagedPack:
    return DamagedPack(f"{name} is cut: it ends within its header. Fetch it again.")
