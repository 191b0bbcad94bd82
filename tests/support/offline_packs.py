"""Offline packs made and read by the plainest means, without the code that is tested."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPACE = "sp1-" + "3" * 32
Float32 = NDArray[np.float32]


@dataclass
class PlainCodec:
    """Product codes: byte j stands for the dimensions order[starts[j]:starts[j + 1]], by books[j], float32 [256, width]."""

    order: list[int]
    starts: list[int]
    books: list[Float32]

    def parts(self) -> list[tuple[list[int], Float32]]:
        return [(self.order[self.starts[j] : self.starts[j + 1]], book) for j, book in enumerate(self.books)]

    def section(self) -> bytes:
        packed = struct.pack(f"<{len(self.order)}H", *self.order) + struct.pack(f"<{len(self.starts)}I", *self.starts)
        return packed + b"".join(book.astype("<f2").tobytes() for book in self.books)


@dataclass
class PlainPack:
    """What a pack holds. `codec`: None for "int8"."""

    vectors: Float32
    ids: list[str]
    fields: list[str] = field(default_factory=list)
    rows: list[list[Any]] | None = None
    labels: list[int] | None = None
    thumbnails: list[bytes] | None = None
    codec: PlainCodec | None = None
    sequence: int = 0
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def codes(self) -> NDArray[Any]:
        if self.codec is None:
            scale = np.abs(self.vectors).max(axis=1, keepdims=True) / 127 if len(self.vectors) else 1.0
            return np.rint(self.vectors / scale).astype(np.int8)
        found = np.zeros((len(self.vectors), len(self.codec.books)), dtype=np.uint8)
        for j, (dimensions, book) in enumerate(self.codec.parts()):
            far = ((self.vectors[:, None, dimensions] - book[None]) ** 2).sum(axis=2)
            found[:, j] = far.argmin(axis=1) if len(self.vectors) else []
        return found

    def decoded(self) -> Float32:
        codes = self.codes()
        if self.codec is None:
            return codes.astype(np.float32)
        out = np.zeros_like(self.vectors)
        for j, (dimensions, book) in enumerate(self.codec.parts()):
            out[:, dimensions] = book[codes[:, j]]
        return out

    def scales(self) -> Float32:
        products = (self.vectors * self.decoded()).sum(axis=1)
        return (1 / products).astype("<f4")

    def content(self) -> bytes:
        """The whole file."""
        items = len(self.ids)
        labels = self.labels if self.labels is not None else list(range(1, items + 1))
        rows = self.rows if self.rows is not None else [[each] for each in self.ids]
        texts = [json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() for row in rows]
        codec = b"" if self.codec is None else self.codec.section()
        size = self.dim if self.codec is None else len(self.codec.books)
        kind = "int8" if self.codec is None else "product"
        members = json.dumps({"bytes": size, "dim": self.dim, "kind": kind}, separators=(",", ":")).encode()
        sections = [
            ("codec", codec),
            ("labels", b"".join(struct.pack("<QI", first, count) for first, count in _runs(labels))),
            ("codes", self.codes().tobytes()),
            ("scales", self.scales().tobytes()),
            ("row_lengths", b"".join(struct.pack("<I", len(text)) for text in texts)),
            ("rows", b"".join(texts)),
        ]
        if self.thumbnails is not None:
            sections.append(("thumbnail_lengths", b"".join(struct.pack("<I", len(each)) for each in self.thumbnails)))
            sections.append(("thumbnails", b"".join(self.thumbnails)))
        header = {
            "format": 1, "gallery": "objects", "space": SPACE, "dim": self.dim, "teacher": "t@1",
            "sequence": self.sequence or (max(labels) if labels else 0), "created_at": "2026-01-01T00:00:00Z",
            "items": items, "fields": self.fields, "thumbnail_size": 160 if self.thumbnails is not None else 0,
            "codec": {"kind": kind, "bytes": size, "id": hashlib.sha256(members + codec).hexdigest()},
            "recall": None, **self.header,
        }  # fmt: skip
        return assemble(header, sections)


def assemble(header: dict[str, Any], sections: list[tuple[str, bytes]]) -> bytes:
    """A file of a header, whose sections are filled in, and the sections."""
    begin = 0
    while True:
        listed, offset = [], begin
        for name, content in sections:
            digest = hashlib.sha256(content).hexdigest()
            listed.append({"name": name, "offset": offset, "size": len(content), "sha256": digest})
            offset += len(content)
        text = json.dumps({**header, "sections": listed}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        head = b"ASKEWPK1" + struct.pack("<I", len(text.encode())) + text.encode()
        if len(head) == begin:
            return head + b"".join(content for _, content in sections)
        begin = len(head)


def read_plainly(content: bytes) -> dict[str, Any]:
    """A pack as plain values: header, labels, rows, codes, scales, thumbnails."""
    assert content[:8] == b"ASKEWPK1"
    (length,) = struct.unpack("<I", content[8:12])
    header = json.loads(content[12 : 12 + length])
    parts = {}
    offset = 12 + length
    for section in header["sections"]:
        assert section["offset"] == offset
        offset += section["size"]
        part = content[section["offset"] : offset]
        assert hashlib.sha256(part).hexdigest() == section["sha256"]
        parts[section["name"]] = part
    assert offset == len(content)
    labels = [first + step for first, count in struct.iter_unpack("<QI", parts["labels"]) for step in range(count)]
    return {
        "header": header,
        "labels": labels,
        "rows": [json.loads(text) for text in _cut(parts["rows"], parts["row_lengths"])],
        "codes": parts["codes"],
        "scales": np.frombuffer(parts["scales"], dtype="<f4"),
        "thumbnails": _cut(parts["thumbnails"], parts["thumbnail_lengths"]) if "thumbnails" in parts else None,
        "parts": parts,
    }


def unit_vectors(count: int, dim: int, seed: int = 1) -> Float32:
    """Random unit vectors, float32 [n, D], rounded to float16 as a gallery stores them."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2").astype(np.float32)


def plain_codec(dim: int, size: int, seed: int = 2) -> PlainCodec:
    """Random codebooks, rounded to float16, of parts of random widths in a random order of the dimensions."""
    random = np.random.default_rng(seed)
    inner = sorted(random.choice(np.arange(1, dim), size - 1, replace=False).tolist())
    starts = [0, *inner, dim]
    books = [
        (random.standard_normal((256, end - begin)) / np.sqrt(dim)).astype("<f2").astype(np.float32)
        for begin, end in pairwise(starts)
    ]
    return PlainCodec(random.permutation(dim).tolist(), starts, books)


def _runs(labels: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for label in labels:
        if runs and label == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((label, 1))
    return runs


def _cut(content: bytes, lengths: bytes) -> list[bytes]:
    parts, offset = [], 0
    for (length,) in struct.iter_unpack("<I", lengths):
        parts.append(content[offset : offset + length])
        offset += length
    assert offset == len(content)
    return parts
