"""Read an encoder file's manifest and verify its digest without the onnx package or an engine.

An ONNX file is a protobuf message. Its top-level `metadata_props` hold the manifest and, under `askew.sha256`, the
SHA-256 of the file itself, computed with those 64 digits set to `0`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from askew_client.contract.errors import DamagedEncoder, NotAnEncoder
from askew_client.contract.manifest import DIGEST_KEY, Manifest

HIGHEST_OPSET = 18
MAX_FIELDS = 50_000
"""The most fields that are read: each takes a step of Python. An encoder file has some tens, and a few for each function."""
MAX_METADATA_BYTES = 4_000_000
"""The largest metadata altogether, in bytes; a manifest with golden vectors of 2,048 values has 35,000."""
UNSEALED = "0" * 64

_OPSET_IMPORT, _METADATA_PROPS, _GRAPH = 8, 14, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class EncoderFile:
    """The contents of an encoder file's top level. `size`: of the file, in bytes."""

    manifest: Manifest
    sha256: str
    opset: int
    size: int


class _TooManyParts(Exception):
    """A file whose fields or metadata cost more to read than those of any encoder."""


class _Budget:
    """Counts the fields and the bytes of metadata of one file. Raises _TooManyParts beyond the most that are read."""

    def __init__(self) -> None:
        self._fields = self._metadata_bytes = 0

    def take_field(self) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise _TooManyParts(f"it has more than {MAX_FIELDS:,} fields")

    def take_metadata(self, size: int) -> None:
        self._metadata_bytes += size
        if self._metadata_bytes > MAX_METADATA_BYTES:
            raise _TooManyParts(f"its metadata has more than {MAX_METADATA_BYTES:,} bytes")


@dataclass(frozen=True, slots=True)
class _Span:
    """One length-delimited field: its number and the range of its bytes."""

    field: int
    start: int
    end: int


def read_encoder_file(path: str | Path) -> EncoderFile:
    """Read and verify an encoder file.

    Raises NotAnEncoder (missing, not ONNX, or no manifest), UnknownManifest (written by a newer Askew), DamagedEncoder
    (its digest does not match its bytes).
    """
    path = Path(path)
    try:
        model = path.read_bytes()
    except OSError as error:
        raise NotAnEncoder(f"Expected an encoder file, but {path} cannot be read: {error.strerror}.") from None
    return parse_encoder_file(model, str(path))


def parse_encoder_file(model: bytes, source: str) -> EncoderFile:
    """As read_encoder_file, for the bytes of a file. `source`: what errors call it."""
    metadata, opset, digest_span = _top_level(model, source)
    manifest = Manifest.from_metadata({key: text for key, (text, _) in metadata.items()}, source)
    if digest_span is None:
        raise NotAnEncoder(f"{source} has no digest ({DIGEST_KEY}). Export it with `askew export`.")
    stated = metadata[DIGEST_KEY][0]
    computed = _digest_without(model, digest_span)
    if stated != computed:
        raise DamagedEncoder(
            f"{source} is damaged: its bytes have SHA-256 {computed[:12]}…, its manifest states {stated[:12]}…. "
            "Fetch or export it again."
        )
    return EncoderFile(manifest, computed, opset, len(model))


def seal(model: bytes) -> bytes:
    """Write the digest into a serialised model whose `askew.sha256` is 64 zeros. Raises NotAnEncoder otherwise."""
    _, _, span = _top_level(model, "the model")
    if span is None or model[span.start : span.end] != UNSEALED.encode():
        raise NotAnEncoder(
            f"Expected a model whose {DIGEST_KEY} is 64 zeros, got another value. Seal a model only once."
        )
    digest = _digest_without(model, span)
    return model[: span.start] + digest.encode() + model[span.end :]


def _digest_without(model: bytes, span: _Span) -> str:
    digest = hashlib.sha256(memoryview(model)[: span.start])
    digest.update(UNSEALED.encode())
    digest.update(memoryview(model)[span.end :])
    return digest.hexdigest()


def _top_level(model: bytes, source: str) -> tuple[dict[str, tuple[str, _Span]], int, _Span | None]:
    """The metadata with the span of each value, the opset, and the span of the digest."""
    metadata: dict[str, tuple[str, _Span]] = {}
    opset = 0
    has_graph = False
    budget = _Budget()
    try:
        for span in _fields(model, 0, len(model), budget):
            if span.field == _METADATA_PROPS:
                budget.take_metadata(span.end - span.start)
                key, value = _key_and_value(model, span, budget)
                metadata[key] = (model[value.start : value.end].decode(), value)
            elif span.field == _OPSET_IMPORT:
                opset = max(opset, _opset_version(model, span, budget))
            elif span.field == _GRAPH:
                has_graph = True
    except (ValueError, IndexError):
        has_graph = False
    except _TooManyParts as error:
        raise NotAnEncoder(
            f"Expected {source} to be an encoder file, but {error}, which no encoder file has. Send one made by "
            "`askew export`."
        ) from None
    if not has_graph:
        raise NotAnEncoder(f"{source} is not an ONNX file, or is truncated. Expected a file made by `askew export`.")
    digest = metadata.get(DIGEST_KEY)
    if digest is not None and re.fullmatch(r"[0-9a-f]{64}", digest[0]) is None:
        raise DamagedEncoder(f"{source} is damaged: its digest is not a SHA-256. Fetch or export it again.")
    return metadata, opset, digest[1] if digest else None


def _key_and_value(model: bytes, entry: _Span, budget: _Budget) -> tuple[str, _Span]:
    parts = {span.field: span for span in _fields(model, entry.start, entry.end, budget)}
    empty = _Span(2, entry.end, entry.end)
    key = parts.get(1, empty)
    return model[key.start : key.end].decode(), parts.get(2, empty)


def _opset_version(model: bytes, entry: _Span, budget: _Budget) -> int:
    """The version of the default operator set; 0 for an entry of another domain."""
    version, position = 0, entry.start
    while position < entry.end:
        budget.take_field()
        tag, position = _varint(model, position)
        if tag & 7 == _VARINT:
            version, position = _varint(model, position)
        else:
            length, position = _varint(model, position)
            if length and model[position : position + length] != b"ai.onnx":
                return 0
            position += length
    return version


def _fields(model: bytes, start: int, end: int, budget: _Budget) -> Iterator[_Span]:
    """The length-delimited fields of one message; other fields are skipped. Raises ValueError if it is not protobuf."""
    position = start
    while position < end:
        budget.take_field()
        tag, position = _varint(model, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, position = _varint(model, position)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        elif wire_type == _BYTES:
            length, position = _varint(model, position)
            if position + length > end:
                raise ValueError("truncated")
            yield _Span(tag >> 3, position, position + length)
            position += length
        else:
            raise ValueError("not protobuf")
    if position != end:
        raise ValueError("truncated")


def _varint(model: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = model[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("not a varint")
