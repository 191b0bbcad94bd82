"""Metadata of any damage or size neither refuses a photo nor changes its pixels."""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from askew_client.encoding.containers.orientation import orientation_of
from askew_client.encoding.containers.photo_format import format_of
from askew_client.encoding.photos import media_type, read_photo, read_shape
from askew_client.errors import PhotoError, UnreadablePhoto

from .photo_samples import Sample, exif_data, picture, samples, saved

SAMPLES = {sample.name: sample for sample in samples()}
every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())


def turns_of(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The eight ways in which pixels can be turned, upright first."""
    mirrored = pixels.transpose(1, 0, 2)
    return [np.rot90(each, quarter) for each in (pixels, mirrored) for quarter in range(4)]


def as_pillow_decodes(content: bytes) -> NDArray[np.uint8]:
    """The pixels of a good photo as Pillow alone reads them, by the decoding table, with all its metadata."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if upright.mode in {"LA", "RGBA"} or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return np.asarray(upright.convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_good_photos_have_the_pixels_that_pillow_reads(orientation: int) -> None:
    for sample in samples(orientation):
        pixels = read_photo(sample.content)
        assert np.array_equal(pixels, as_pillow_decodes(sample.content)), sample.name
        assert read_shape(sample.content) == pixels.shape[:2], sample.name


def test_the_demo_and_its_queries_have_the_pixels_that_pillow_reads(photos: list[Path]) -> None:
    for path in photos:
        assert np.array_equal(read_photo(path), as_pillow_decodes(path.read_bytes())), path


@every_sample
def test_a_photo_with_metadata_has_the_pixels_of_the_one_without(sample: Sample) -> None:
    assert np.array_equal(read_photo(sample.content), np.rot90(read_photo(sample.bare), -1))


@pytest.mark.parametrize("count", [150, pytest.param(5_000, marks=pytest.mark.slow)])
def test_no_mutation_of_metadata_changes_the_pixels(count: int) -> None:
    """Contents, lengths and checksums of metadata are overwritten; the pixels are not, so all of them are there."""
    draw = random.Random(13)
    expected = {name: [turn.tobytes() for turn in turns_of(read_photo(each.bare))] for name, each in SAMPLES.items()}
    wrong = []
    for number in range(count):
        sample = draw.choice(list(SAMPLES.values()))
        content = mutated(sample, draw)
        try:
            pixels = read_photo(content)
        except PhotoError as error:
            wrong.append(f"{number} {sample.name}: {error}")
            continue
        if pixels.tobytes() not in expected[sample.name]:
            wrong.append(f"{number} {sample.name}: other pixels")
        elif read_shape(content) != pixels.shape[:2]:
            wrong.append(f"{number} {sample.name}: another shape")
    assert not wrong, f"{len(wrong)} of {count}: {wrong[:20]}"


@pytest.mark.parametrize("count", [150, pytest.param(5_000, marks=pytest.mark.slow)])
def test_no_mutation_of_a_file_raises_anything_but_our_errors(count: int) -> None:
    draw = random.Random(14)
    for _ in range(count):
        sample = draw.choice(list(SAMPLES.values()))
        content = bytearray(sample.content)
        # Mostly the first bytes, which are headers.
        end = draw.choice([64, 700, len(content)])
        for _ in range(draw.randint(1, 12)):
            content[draw.randrange(min(end, len(content)))] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)])
        for read in (read_photo, read_shape):
            try:
                read(bytes(content[: draw.choice([len(content), draw.randrange(1, len(content))])]))
            except PhotoError:
                continue


def mutated(sample: Sample, draw: random.Random) -> bytes:
    """The photo with some bytes of one segment of metadata overwritten: in its header, its EXIF entries, or anywhere."""
    content = bytearray(sample.content)
    start, end = draw.choice(sample.metadata)
    reach = draw.choice([4, 12, 120, end - start])
    for _ in range(draw.randint(1, 12)):
        content[start + draw.randrange(min(reach, end - start))] = draw.choice([0, 1, 0xFF, draw.randrange(256)])
    return bytes(content)


# EXIF data


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_of_both_byte_orders_are_read_from_each_format(suffix: str, order: str, orientation: int) -> None:
    bare = read_photo(saved(picture(), suffix))
    photo = saved(picture(), suffix, exif=exif_data(orientation, order=order))
    turns = {
        1: bare,
        2: bare[:, ::-1],
        3: bare[::-1, ::-1],
        4: bare[::-1],
        5: bare.transpose(1, 0, 2),
        6: np.rot90(bare, -1),
        7: np.rot90(bare, 2).transpose(1, 0, 2),
        8: np.rot90(bare, 1),
    }
    assert np.array_equal(read_photo(photo), turns[orientation])
    assert read_shape(photo) == turns[orientation].shape[:2]


def test_other_values_of_odd_types_do_not_matter() -> None:
    """Case 1 of the bug reports: a resolution written as text, in a photo that is to be turned."""
    for kind in range(16):
        exif = bytearray(exif_data(6))
        place = exif.index(struct.pack("<H", 0x011A))
        exif[place + 2 : place + 4] = struct.pack("<H", kind)
        photo = saved(picture(), "JPEG", exif=bytes(exif))
        assert np.array_equal(read_photo(photo), np.rot90(read_photo(saved(picture(), "JPEG")), -1)), kind


@given(st.binary(max_size=80))
def test_no_exif_data_raises(data: bytes) -> None:
    for start in (b"", b"Exif\0\0", b"II*\0", b"Exif\0\0MM\0*", b"II*\0\x08\0\0\0"):
        assert 1 <= orientation_of(start + data) <= 8


@pytest.mark.parametrize("value", [0, 9, 255, 65_535])
def test_an_orientation_that_does_not_exist_is_upright(value: int) -> None:
    assert orientation_of(exif_data(value)) == 1


@pytest.mark.parametrize(
    ("exif", "shape"), [(exif_data(6), (80, 56, 3)), (b"Exif\0\0II*\0" + b"\xff" * 40, (56, 80, 3))]
)
def test_an_image_of_pillow_is_turned_unless_its_exif_data_is_damaged(exif: bytes, shape: tuple[int, ...]) -> None:
    image = picture()
    image.info["exif"] = exif
    assert read_photo(image).shape == shape


# Sizes, and several pictures


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with these chunks behind its header."""
    bare = saved(picture(), "PNG")
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return bare[:33] + b"".join(parts) + bare[33:]


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_500_000)))],
        [(b"iTXt", b"Title\0\x01\0\0\0" + zlib.compress(bytes(1_500_000)))],
        [(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_500_000)))],
        [(b"tEXt", b"Comment\0" + bytes(900_000))] * 75,
        [(b"zTXt", b"Comment\0\0broken")],
        [(b"pHYs", b"")],
        [(b"gAMA", b"\1")],
        [(b"cHRM", b"\1" * 3)],
    ],
    ids=["zTXt", "iTXt", "iCCP", "68 MB", "broken zTXt", "pHYs", "gAMA", "cHRM"],
)
def test_png_metadata_of_any_size_is_passed_over(chunks: list[tuple[bytes, bytes]]) -> None:
    """Case 7 of the bug reports."""
    assert np.array_equal(read_photo(png_with(*chunks)), np.asarray(picture()))


def test_a_png_states_its_orientation_behind_the_pixels_too() -> None:
    bare, exif = saved(picture(), "PNG"), exif_data(6)[6:]
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    assert read_shape(bare[:-12] + chunk + bare[-12:]) == (80, 56)
    assert read_photo(bare[:-12] + chunk + bare[-12:]).shape == (80, 56, 3)


@pytest.mark.parametrize(("mode", "value"), [("L", 7), ("RGB", (200, 40, 90)), ("P", 1)])
def test_a_transparent_colour_is_still_white(mode: str, value: Any) -> None:
    image = Image.new(mode, (40, 40), value)
    if mode == "P":
        image.putpalette([10, 20, 30, 40, 50, 60])
    photo = saved(image, "PNG", transparency=value)
    assert (read_photo(photo) == 255).all()
    assert np.array_equal(read_photo(photo), as_pillow_decodes(photo))


def test_a_photo_of_several_pictures_is_its_first() -> None:
    """MPO: what phones write for depth, live and wide photos, under the suffix .jpg."""
    first, second = picture(), picture("L").convert("RGB").resize((30, 20))
    photo = saved(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(read_photo(photo), as_pillow_decodes(saved(first, "JPEG")))


# Formats


@pytest.mark.parametrize("name", ["photo", "photo.png", "photo.jfif", "photo.jpe", "photo.txt", "photo.heic"])
def test_a_file_is_judged_by_its_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(saved(picture(), "JPEG"))
    assert read_photo(tmp_path / name).shape == (56, 80, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_photos_are_turned_once(orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    flat = pillow_heif.from_pillow(picture())
    flat.info["exif"] = exif_data(orientation)
    buffer, upright = io.BytesIO(), io.BytesIO()
    flat.save(buffer, quality=95)
    pillow_heif.from_pillow(picture()).save(upright, quality=95)
    bare = read_photo(upright.getvalue())
    assert np.abs(bare.astype(int) - np.asarray(picture()).astype(int)).mean() < 4
    turned = ImageOps.exif_transpose(with_orientation(Image.fromarray(bare), orientation))
    assert np.array_equal(read_photo(buffer.getvalue()), np.asarray(turned))
    assert read_shape(buffer.getvalue()) == (turned.height, turned.width)
    assert media_type(buffer.getvalue()) == "image/heic"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_photos_are_turned_once(orientation: int) -> None:
    bare = read_photo(saved(picture(), "AVIF", quality=95))
    photo = saved(picture(), "AVIF", quality=95, exif=exif_data(orientation))
    turned = ImageOps.exif_transpose(with_orientation(Image.fromarray(bare), orientation))
    assert np.array_equal(read_photo(photo), np.asarray(turned))
    assert read_shape(photo) == (turned.height, turned.width)
    assert media_type(photo) == "image/avif"


def with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[0x0112] = orientation
    return image


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_damaged_exif_data_of_heic_and_avif_does_not_matter(kind: str) -> None:
    if kind == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif")
        flat = pillow_heif.from_pillow(picture())
        flat.info["exif"] = exif_data(1)
        buffer = io.BytesIO()
        flat.save(buffer, quality=95)
        photo = buffer.getvalue()
    else:
        photo = saved(picture(), "AVIF", exif=exif_data(1))
    whole = read_photo(photo)
    draw = random.Random(15)
    start = photo.rindex(b"II*\0")
    for _ in range(40):
        damaged = bytearray(photo)
        for _ in range(8):
            damaged[start + draw.randrange(90)] = draw.randrange(256)
        assert np.array_equal(read_photo(bytes(damaged)), whole)


def test_heic_without_its_decoder_is_refused_with_the_name_of_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    with pytest.raises(UnreadablePhoto, match="pip install pillow-heif"):
        read_photo(heic)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41mp42", None),
    ],
)
def test_heic_avif_and_videos_are_told_apart(box: bytes, expected: str | None) -> None:
    assert format_of(box + bytes(40)) == expected


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize(
    ("place", "damage"),
    [(4, b"\x05"), (4, b"\xff\xff\xff\x7f"), (8, b"\xff"), (8, b"\0"), (12, b"\xff" * 6), (12, bytes(6))],
)
def test_a_damaged_vp8x_does_not_matter_to_a_still_picture(
    mode: str, lossless: bool, place: int, damage: bytes
) -> None:
    image = picture(mode)
    content = bytearray(saved(image, "WEBP", lossless=lossless, exif=exif_data(6), icc_profile=b"x" * 500))
    start = content.index(b"VP8X") + place
    content[start : start + len(damage)] = damage
    upright = read_photo(saved(image, "WEBP", lossless=lossless))
    assert np.array_equal(read_photo(bytes(content)), np.rot90(upright, -1))
    assert read_shape(bytes(content)) == (upright.shape[1], upright.shape[0])
