"""Whatever a decoder or an engine raises on one photo becomes a refusal of that photo; the others go on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from askew_client import Encoder
from askew_client.encoding.photos import read_photo, read_shape
from askew_client.errors import PhotoError, UnreadablePhoto

ODD = [TypeError("bad operand"), AttributeError("no such tag"), MemoryError(), RecursionError("too deep"), KeyError(7)]
ODD += [
    ZeroDivisionError("by zero"),
    IndexError("out of range"),
    AssertionError(),
    RuntimeError("engine"),
    OverflowError(),
]
every_odd_error = pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)


class OddDecoder(JpegImagePlugin.JpegImageFile):
    """Raises on photos that are 61 pixels wide."""

    error: Exception

    def load(self) -> Any:
        if self.width == 61:
            raise self.error
        return super().load()


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three photos, of which the decoder fails on the second."""
    monkeypatch.setitem(Image.OPEN, "JPEG", (OddDecoder, JpegImagePlugin._accept))
    for name, width in (("a", 60), ("b", 61), ("c", 62)):
        Image.new("RGB", (width, 50), "orange").save(tmp_path / f"{name}.jpg")
    return sorted(tmp_path.glob("*.jpg"))


@every_odd_error
def test_an_odd_exception_refuses_its_photo_and_is_logged(
    error: Exception, paths: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    OddDecoder.error = error
    with pytest.raises(UnreadablePhoto, match=r"b\.jpg .* Expected a whole JPEG"):
        read_photo(paths[1])
    assert read_photo(paths[0]).shape == (50, 60, 3)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert str(paths[1]) in record.getMessage()


@every_odd_error
def test_the_other_photos_of_a_stream_are_described(error: Exception, paths: list[Path], teacher_file: Path) -> None:
    OddDecoder.error = error
    encoder = Encoder(teacher_file, threads=1)
    results = list(encoder.encode_stream(paths, workers=2))
    assert [isinstance(each, PhotoError) for each in results] == [False, True, False]
    with pytest.raises(UnreadablePhoto, match=r"b\.jpg"):
        encoder.encode(paths)


def test_an_engine_that_fails_on_one_photo_refuses_it(
    teacher_file: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(teacher_file, threads=1)
    whole = encoder.encode_pixels

    def odd(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[1] == 62:
            raise RuntimeError("no memory for the largest tensor")
        return whole(pixels)

    OddDecoder.error = TypeError()
    monkeypatch.setattr(encoder, "encode_pixels", odd)
    first, _, third = encoder.encode_stream(paths, workers=2)
    assert isinstance(first, np.ndarray)
    assert "no memory for the largest tensor" in str(third)
    assert "c.jpg" in str(third)


def test_what_is_no_photo_at_all_is_still_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="Expected a path"):
        read_photo(7)  # type: ignore[arg-type]


def test_an_interruption_is_no_fault_of_a_photo(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(OddDecoder, "load", stop)
    with pytest.raises(KeyboardInterrupt):
        read_photo(paths[0])
    assert read_shape(paths[0]) == (50, 60)
