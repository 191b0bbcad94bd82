"""A newer pack from an older one: only the head, the labels and the ends of the sections are fetched.

This is the reference for what a device does. Items are in the order of their labels, and a changed item has a new label:
so what is new lies at the ends of the sections, and everything before it is the old pack without what was removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.errors import DamagedPack
from askew_client.contract.offline_pack import PACK_HEAD_BYTES, PackHeader, SectionName
from askew_client.offline.layout import LENGTH, SCALE, labels_of, pack_size, read_head, write_head
from askew_client.offline.sections import PackBytes, verify_pack

FetchRange = Callable[[int, int], bytes]
"""fetch(begin, end): the bytes [begin, end) of the newer file, fewer only where the file ends."""

_SIZED: dict[SectionName, SectionName] = {"rows": "row_lengths", "thumbnails": "thumbnail_lengths"}


def update_pack(old: PackBytes, fetch: FetchRange, name: str) -> bytes | None:
    """The newer pack, byte for byte; None if it cannot be made from the old one and has to be fetched whole.

    `name`: what to call the newer pack in messages. Raises DamagedPack, and what `fetch` raises.
    """
    head = fetch(0, PACK_HEAD_BYTES)
    header, begin = read_head(head, name)
    # A head that was written in another way, by another program, cannot be made anew from its members.
    if not _continues(old.header, header) or write_head(header) != head[:begin]:
        return None
    section = header.section("labels")
    label_bytes = fetch(section.offset, section.offset + section.size)
    labels = labels_of(label_bytes, header.items, name)
    old_labels = labels_of(bytes(old.section("labels")), old.header.items, old.name)
    survives = np.isin(old_labels, labels)
    kept = labels[labels <= old.header.sequence]
    if not np.array_equal(old_labels[survives], kept):
        return None
    parts = _merged(old, header, survives, len(kept), fetch)
    sections = {"codec": bytes(old.section("codec")), "labels": label_bytes, **parts}
    for each in header.sections:
        if hashlib.sha256(sections[each.name]).hexdigest() != each.sha256:
            return None
    content = head[:begin] + b"".join(sections[each.name] for each in header.sections)
    verify_pack(memoryview(content), name)
    return content


def _continues(old: PackHeader, new: PackHeader) -> bool:
    """Whether the newer pack may hold items exactly as the older one does."""
    members = ("gallery", "space", "dim", "fields", "thumbnail_size")
    return old.codec.id == new.codec.id and all(getattr(old, each) == getattr(new, each) for each in members)


def _merged(
    old: PackBytes, new: PackHeader, survives: NDArray[np.bool_], kept: int, fetch: FetchRange
) -> dict[SectionName, bytes]:
    """The sections with one part for each item: what survives of the old ones, then the fetched ends."""
    merged: dict[SectionName, bytes] = {}
    widths: dict[SectionName, int] = {
        "codes": new.codec.bytes, "scales": SCALE.itemsize, "row_lengths": LENGTH.itemsize,
        "thumbnail_lengths": LENGTH.itemsize,
    }  # fmt: skip
    for section in new.sections:
        width = widths.get(section.name)
        if width is not None:
            rows = np.frombuffer(old.section(section.name), dtype=np.uint8).reshape(len(survives), width)
            known = rows[survives].tobytes()
            merged[section.name] = known + _end_of(new, section.name, kept * width, fetch)
    for name, lengths in _SIZED.items():
        if lengths in merged:
            ends = np.cumsum(np.frombuffer(old.section(lengths), dtype=LENGTH), dtype=np.int64)
            known = _pieces(old.section(name), ends, survives)
            merged[name] = known + _end_of(new, name, len(known), fetch)
    return merged


def _pieces(content: memoryview, ends: NDArray[np.int64], survives: NDArray[np.bool_]) -> bytes:
    """The parts of the items that survive, one after the other."""
    begins = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    return b"".join(
        content[begin:end] for begin, end in zip(begins[survives].tolist(), ends[survives].tolist(), strict=True)
    )


def _end_of(header: PackHeader, name: SectionName, known: int, fetch: FetchRange) -> bytes:
    section = header.section(name)
    if known >= section.size:
        return b""
    fetched = fetch(section.offset + known, section.offset + section.size)
    if len(fetched) != section.size - known:
        raise DamagedPack(
            f"Expected bytes {section.offset + known} to {pack_size(header)} of the new pack, got {len(fetched)} of its "
            f"section {name}. Try again."
        )
    return fetched
