"""Encoder files: the manifest is read as it was written, and every damage is noticed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from askew_client.contract.encoder_file import parse_encoder_file, read_encoder_file, seal
from askew_client.contract.manifest import Manifest
from askew_client.errors import AskewError, DamagedEncoder, EncoderError, NotAnEncoder, UnknownManifest
from tests.support.small_encoders import sealed


def metadata_of(path: Path) -> dict[str, str]:
    kept = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    del kept["askew.sha256"]
    return kept


def _length(size: int) -> bytes:
    """A size as protobuf writes it."""
    groups = []
    while size > 0x7F:
        groups.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*groups, size])


def test_manifest_digest_opset_and_size_are_read(teacher_file: Path) -> None:
    found = read_encoder_file(teacher_file)
    assert (found.manifest.name, found.manifest.role, found.manifest.dim) == ("teacher", "teacher", 64)
    assert found.manifest.encoder_id == "teacher@1"
    assert found.opset == 18
    assert found.size == teacher_file.stat().st_size
    assert found.sha256 in teacher_file.read_bytes().decode("latin-1")
    assert Manifest.from_metadata(found.manifest.to_metadata(), "here") == found.manifest


def test_a_flipped_bit_is_noticed_anywhere(teacher_file: Path) -> None:
    model = teacher_file.read_bytes()
    for position in {*range(0, len(model), 97), *range(len(model) - 4_000, len(model), 7), 0, len(model) - 1}:
        damaged = bytearray(model)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(EncoderError):
            parse_encoder_file(bytes(damaged), "the file")


def test_a_changed_weight_is_reported_as_damage(teacher_file: Path) -> None:
    damaged = bytearray(teacher_file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(DamagedEncoder, match="is damaged"):
        parse_encoder_file(bytes(damaged), "the file")


def test_a_truncated_file_is_refused(teacher_file: Path) -> None:
    model = teacher_file.read_bytes()
    for length in [0, 1, 10, len(model) // 2, len(model) - 1]:
        with pytest.raises(EncoderError):
            parse_encoder_file(model[:length], "the file")


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_random_bytes_raise_only_our_errors(model: bytes) -> None:
    with pytest.raises(AskewError):
        parse_encoder_file(model, "the file")


@given(st.integers(0, 2**32 - 1))
def test_changed_encoder_files_raise_only_our_errors(teacher_file: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    model = np.frombuffer(teacher_file.read_bytes(), dtype=np.uint8).copy()
    model[random.integers(len(model) - 6_000, len(model), 20)] = random.integers(0, 256, 20)
    with pytest.raises(AskewError):
        parse_encoder_file(model.tobytes(), "the file")


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x00" * 2_000_000,
        # Within an entry of the metadata, within an operator set, and as entries of the metadata.
        b"\x72" + _length(2_000_000) + b"\x08\x00" * 1_000_000,
        b"\x42" + _length(2_000_000) + b"\x10\x00" * 1_000_000,
        b"\x72\x00" * 1_000_000,
        b"\x72" + _length(5_000_000) + b"\x0a" + _length(4_999_995) + b"a" * 4_999_995,
    ],
    ids=["fields", "in the metadata", "in an operator set", "entries", "bytes of metadata"],
)
def test_a_file_of_very_many_parts_is_refused_before_they_are_read(content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(NotAnEncoder, match=r"more than [\d,]+ (fields|bytes), which no encoder file has"):
        parse_encoder_file(content, "the file")
    # Reading them all takes a second or more.
    assert time.process_time() - began < 0.5


def test_missing_files_and_files_without_a_manifest_are_refused(tmp_path: Path, teacher_file: Path) -> None:
    with pytest.raises(NotAnEncoder, match="cannot be read"):
        read_encoder_file(tmp_path / "missing.onnx")
    with pytest.raises(NotAnEncoder, match="cannot be read"):
        read_encoder_file(tmp_path)
    plain = onnx.load(teacher_file)
    del plain.metadata_props[:]
    with pytest.raises(NotAnEncoder, match="without an Askew manifest"):
        parse_encoder_file(plain.SerializeToString(), "the file")


@pytest.mark.parametrize("version", ["2", "10", "-1", "1.5", "one", "", "9" * 5_000, "²"])
def test_a_newer_manifest_is_refused(teacher_file: Path, version: str) -> None:
    metadata = {**metadata_of(teacher_file), "askew.format_version": version}
    with pytest.raises(UnknownManifest, match="Upgrade"):
        parse_encoder_file(sealed(onnx.load(teacher_file), metadata), "the file")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", "0"),
        ("dim", "many"),
        ("role", "oracle"),
        ("space_id", "sp1-short"),
        ("photo_size", "31"),
        ("golden", "{}"),
        ("golden", '{"large": "AAAA"}'),
        ("tolerance", "1"),
        ("scales", "[" * 5_000),
        ("unknown_field", "1"),
    ],
)
def test_the_error_of_an_invalid_manifest_names_the_field(teacher_file: Path, field: str, value: str) -> None:
    metadata = {**metadata_of(teacher_file), f"askew.{field}": value}
    with pytest.raises(NotAnEncoder, match=field):
        parse_encoder_file(sealed(onnx.load(teacher_file), metadata), "the file")


def test_only_an_unsealed_model_can_be_sealed(teacher_file: Path) -> None:
    with pytest.raises(NotAnEncoder, match="64 zeros"):
        seal(teacher_file.read_bytes())


def test_a_manifest_is_immutable(teacher_file: Path) -> None:
    manifest = read_encoder_file(teacher_file).manifest
    with pytest.raises(ValidationError):
        manifest.dim = 3  # type: ignore[misc]
