"""Write a pack: a gallery at one moment, coded, with the fields and thumbnails that its policy lets out.

Sections are written one by one to files, and then put together behind the header that names their digests. Items pass by
in batches, so that memory does not grow with the gallery.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.offline_pack import OfflinePackPolicy, PackHeader, PackRecall, SectionName
from askew_client.errors import PhotoError
from askew_client.offline.codes import ProductCodes
from askew_client.offline.layout import LENGTH, SCALE, place_sections, runs_of, section_names, write_head
from askew_server.index.types import Labels, Vectors
from askew_server.offline.choice import MOST_MEASURED, choose_codec, spread_rows
from askew_server.offline.codecs import Codec, int8_codec
from askew_server.offline.drawing import Draw, Drawer
from askew_server.offline.earlier import EarlierPack
from askew_server.offline.recall import QUERIES, RecallMeter
from askew_server.offline.source import PackSource, pack_source
from askew_server.offline.thumbnails import thumbnail
from askew_server.offline.training import TRAINING_VECTORS
from askew_server.processes import Limits

RECALL_TOLERANCE = 0.01
"""By how much the recall of a codec may fall below what it was when it was trained, before another one is."""
MOST_GROWTH = 2
"""By which factor a gallery may grow before its codec is trained anew."""

_COPIED_AT_ONCE = 1 << 20
_LEAST_COSINE = 0.01

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Trained:
    """What is known of a codec besides what its pack holds, from the time when it was made.

    `items`: of the gallery then; `recall`: measured then. `cosine`: the mean squared cosine of vectors and what their codes
    stand for, by which factors are divided. `weights`: see Codec. `size`: the bytes of a code that an administrator had chosen.
    """

    items: int
    recall: float | None
    cosine: float = 1.0
    weights: NDArray[np.float32] | None = None
    size: int | None = None


@dataclass(frozen=True)
class PackOrder:
    """What to write. `folder`: of the gallery. `earlier`: the pack before, with the state that its codec was made in.

    `created_at`: the time that the header names. `max_pixels`, `photo_limits`, `draw`: see Drawer, which makes thumbnails.
    """

    gallery: str
    folder: Path
    policy: OfflinePackPolicy
    created_at: str
    max_pixels: int
    earlier: tuple[Path, Trained] | None = None
    photo_limits: Limits = field(default_factory=Limits)
    draw: Draw = thumbnail


@dataclass(frozen=True)
class WrittenPack:
    """A pack that was written. `size`, `sha256`: of the file. `is_new_codec`: whether the codec is not the earlier one."""

    header: PackHeader
    size: int
    sha256: str
    trained: Trained
    is_new_codec: bool
    thumbnails: int
    unreadable_photos: int


def write_pack(order: PackOrder, target: Path, report: Report) -> WrittenPack:
    """Write a pack to `target`, in a folder that holds nothing else; on the disk when it returns.

    `report(done, total)`: units of work, two for each item. Raises DatabaseError, OSError, EngineMissing.
    """
    sections = _Sections(target.parent)
    with pack_source(order.folder) as source:
        total = 2 * len(source.labels)
        report(0, total)
        earlier = None if order.earlier is None else EarlierPack.open(order.earlier[0], source.facts.space)
        trained = order.earlier[1] if order.earlier is not None else None
        coded = _code(order, source, earlier, trained, sections, lambda done: report(done, total))
        sections.write_whole("codec", coded.codec.section)
        sections.write_whole("labels", runs_of(source.labels))
        photos = _write_rows(order.policy.fields, source, sections)
        facts, labels = source.facts, source.labels
    # The transaction has ended: photos take minutes, and a log that no checkpoint can empty would grow all the time.
    drawn, unreadable = 0, 0
    if order.policy.thumbnails:
        drawn, unreadable = _write_thumbnails(
            order, labels, photos, earlier, sections, lambda done: report(len(labels) + done, total)
        )
    header = PackHeader(
        gallery=order.gallery,
        space=facts.space,
        dim=facts.dim,
        teacher=facts.teacher.encoder_id,
        sequence=facts.sequence,
        created_at=order.created_at,
        items=len(labels),
        fields=order.policy.fields,
        thumbnail_size=order.policy.thumbnails,
        codec=coded.codec.described,
        recall=coded.recall,
        sections=[],
    )
    header = place_sections(header, sections.finished(section_names(order.policy.thumbnails)))
    size, sha256 = sections.assemble(header, target)
    report(total, total)
    return WrittenPack(header, size, sha256, coded.trained, coded.is_new, drawn, unreadable)


# Codes


@dataclass(frozen=True)
class _Coded:
    codec: Codec
    recall: PackRecall | None
    trained: Trained
    is_new: bool


def _code(
    order: PackOrder,
    source: PackSource,
    earlier: EarlierPack | None,
    trained: Trained | None,
    sections: _Sections,
    report: Callable[[int], None],
) -> _Coded:
    """Write codes and scales, by the earlier pack's codec if it still serves, else by a new one."""
    items = len(source.labels)
    queries = source.vectors_of(source.labels[spread_rows(items, QUERIES)])
    if earlier is not None and trained is not None and _may_be_kept(earlier, trained, order.policy, items):
        kept = _codec_of(earlier, trained)
        recall, _ = _encode(kept, source, earlier, trained, queries, sections, report)
        if recall is None or trained.recall is None or recall.value >= trained.recall - RECALL_TOLERANCE:
            return _Coded(kept, recall, trained, is_new=False)
    _, sample = source.vectors_of(source.labels[spread_rows(items, TRAINING_VECTORS)])
    codec = choose_codec(items, sample, order.policy.bytes, lambda codec: _measure(codec, source, queries))
    del sample
    recall, cosine = _encode(codec, source, earlier, trained, queries, sections, report)
    made = Trained(items, None if recall is None else recall.value, cosine, codec.weights, order.policy.bytes)
    is_new = earlier is None or earlier.header.codec.id != codec.described.id
    return _Coded(codec, recall, made, is_new)


def _may_be_kept(earlier: EarlierPack, trained: Trained, policy: OfflinePackPolicy, items: int) -> bool:
    kind, size = earlier.header.codec.kind, earlier.header.codec.bytes
    if policy.bytes is None:
        is_wanted = trained.size is None
    else:
        is_wanted = kind == "product" and size == min(policy.bytes, earlier.header.dim)
    return is_wanted and trained.items > 0 and items <= MOST_GROWTH * trained.items


def _codec_of(earlier: EarlierPack, trained: Trained) -> Codec:
    header = earlier.header
    if header.codec.kind == "int8":
        return int8_codec(header.dim)
    section = bytes(earlier.file.section("codec"))
    return Codec(ProductCodes.read(section, header.codec.bytes, header.dim), trained.weights)


def _measure(codec: Codec, source: PackSource, queries: tuple[Labels, Vectors]) -> float:
    """The recall of a codec in the gallery, or in a part of a very large one; 1 if there is nothing to find."""
    meter = RecallMeter(*queries)
    measured = source.labels[spread_rows(len(source.labels), MOST_MEASURED)]
    for labels, vectors in source.batches() if len(measured) == len(source.labels) else source.batches_of(measured):
        codes = codec.encode(vectors)
        meter.see(labels, vectors, codec, codes, codec.fit(vectors, codes)[0])
    recall = meter.recall()
    return 1.0 if recall is None else recall.value


def _encode(
    codec: Codec,
    source: PackSource,
    earlier: EarlierPack | None,
    trained: Trained | None,
    queries: tuple[Labels, Vectors],
    sections: _Sections,
    report: Callable[[int], None],
) -> tuple[PackRecall | None, float]:
    """Write the codes and factors of all items. Returns their recall, and the mean squared cosine that factors have."""
    meter = RecallMeter(*queries)
    same, cosine = None, 1.0
    if earlier is not None and trained is not None and earlier.header.codec.id == codec.described.id:
        same, cosine = earlier, trained.cosine
    factors, squares = [], []
    done = 0
    with sections.open("codes") as code_file:
        for labels, vectors in source.batches():
            codes = np.empty((len(labels), codec.described.bytes), dtype=np.uint8)
            scales = np.empty(len(labels), dtype=np.float32)
            known = np.zeros(len(labels), dtype=np.bool_)
            if same is not None:
                known, places = same.places(labels)
                codes[known], scales[known] = same.codes(places)
            if not known.all():
                codes[~known] = codec.encode(vectors[~known])
                fitted, cosines = codec.fit(vectors[~known], codes[~known])
                scales[~known] = fitted / np.float32(cosine)
                squares.append(cosines)
            code_file.write(codes.tobytes())
            factors.append(scales)
            meter.see(labels, vectors, codec, codes, scales)
            done += len(labels)
            report(done)
    scales = np.concatenate([*factors, np.empty(0, dtype=np.float32)])
    # The factors of "int8" are right to 1e-4 as they are, and its codec stays the same whatever the gallery holds.
    if same is None and codec.described.kind == "product" and len(scales):
        cosine = max(float(np.concatenate(squares).mean()), _LEAST_COSINE)
        scales = scales / np.float32(cosine)
    sections.write_whole("scales", scales.astype(SCALE).tobytes())
    return meter.recall(), cosine


# Rows and thumbnails


def _write_rows(fields: list[str], source: PackSource, sections: _Sections) -> list[Path | None]:
    """Write id and named fields of every item. Returns the photo of each."""
    photos = []
    with sections.open("rows") as rows, sections.open("row_lengths") as lengths:
        for item_id, payload, photo in source.rows():
            text = row_of(item_id, payload, fields)
            rows.write(text)
            lengths.write(len(text).to_bytes(LENGTH.itemsize, "little"))
            photos.append(photo)
    return photos


def row_of(item_id: str, payload: str, fields: list[str]) -> bytes:
    """An item's row: its id and the values of the named fields alone, as UTF-8 JSON. `payload`: JSON text."""
    members = json.loads(payload)
    row = [item_id, *(members.get(field) for field in fields)]
    while row[-1] is None:
        row.pop()
    try:
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    # Half of a surrogate pair, which JSON can escape and UTF-8 cannot hold.
    except UnicodeEncodeError:
        return json.dumps(row, separators=(",", ":")).encode()


def _write_thumbnails(
    order: PackOrder,
    labels: Labels,
    photos: list[Path | None],
    earlier: EarlierPack | None,
    sections: _Sections,
    report: Callable[[int], None],
) -> tuple[int, int]:
    """Write a thumbnail of every photo. Returns how many there are, and how many photos cannot be read."""
    size = order.policy.thumbnails
    same = earlier if earlier is not None and earlier.header.thumbnail_size == size else None
    known: dict[int, int] = {}
    if same is not None:
        is_known, places = same.places(labels)
        known = dict(zip(np.flatnonzero(is_known).tolist(), places.tolist(), strict=True))
    drawn = unreadable = 0
    drawer = Drawer(size, max_pixels=order.max_pixels, limits=order.photo_limits, draw=order.draw)
    with (
        closing(drawer),
        sections.open("thumbnails") as pictures,
        sections.open("thumbnail_lengths") as lengths,
    ):
        for position, photo in enumerate(photos):
            picture = b""
            if photo is not None:
                if same is not None and position in known:
                    picture = same.thumbnail(known[position])
                try:
                    picture = picture or drawer.draw(photo)
                except PhotoError:
                    unreadable += 1
            drawn += bool(picture)
            pictures.write(picture)
            lengths.write(len(picture).to_bytes(LENGTH.itemsize, "little"))
            report(position + 1)
    return drawn, unreadable


# Files


class _SectionFile:
    """A section that is being written to its own file."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> None:
        self._stream.write(content)
        self._digest.update(content)
        self.size += len(content)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> _SectionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class _Sections:
    """The sections of a pack, each in a file of its own until they are put together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[SectionName, _SectionFile] = {}

    def open(self, name: SectionName) -> _SectionFile:
        """Begin a section, or begin it again."""
        self._files[name] = _SectionFile(self._folder / name)
        return self._files[name]

    def write_whole(self, name: SectionName, content: bytes) -> None:
        """Write a section that is in memory."""
        with self.open(name) as section:
            section.write(content)

    def finished(self, names: tuple[SectionName, ...]) -> list[tuple[SectionName, int, str]]:
        """Name, size and SHA-256 of each section, in this order."""
        return [(name, self._files[name].size, self._files[name].sha256) for name in names]

    def assemble(self, header: PackHeader, target: Path) -> tuple[int, str]:
        """Put the sections together behind the header. Returns the file's bytes and SHA-256; it is on the disk."""
        digest, size = hashlib.sha256(), 0
        with target.open("wb") as stream:

            def write(content: bytes) -> None:
                nonlocal size
                stream.write(content)
                digest.update(content)
                size += len(content)

            write(write_head(header))
            for section in header.sections:
                path = self._folder / section.name
                with path.open("rb") as part:
                    while content := part.read(_COPIED_AT_ONCE):
                        write(content)
                path.unlink()
            stream.flush()
            os.fsync(stream.fileno())
        return size, digest.hexdigest()
