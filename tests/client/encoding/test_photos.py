"""The decoding table and the size rule: a test for each row, and for each reason to refuse a photo."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from askew_client.encoding.golden import GOLDEN_SIZES, draw_golden_picture, golden_pictures
from askew_client.encoding.photos import check_shape, media_type, read_photo, shrunk_size
from askew_client.errors import PhotoError, PhotoTooLarge, PhotoTooThin, UnreadablePhoto


def saved(image: Image.Image, suffix: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def colours(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims this size. Nothing of that size is allocated."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


# The decoding table


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    upright = colours()
    # What a camera stores for each orientation: the inverse of EXIF's table.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("PNG", "WEBP"):
        photo = saved(Image.fromarray(np.ascontiguousarray(stored)), suffix, exif=exif, lossless=True)
        assert np.array_equal(read_photo(photo), upright), suffix


def test_an_icc_profile_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    photo = saved(Image.fromarray(colours()), icc_profile=profile)
    assert np.array_equal(read_photo(photo), colours())


def test_alpha_is_blended_with_white() -> None:
    image = Image.new("RGBA", (40, 40), (200, 100, 0, 0))
    assert (read_photo(saved(image)) == 255).all()
    image = Image.new("RGBA", (40, 40), (200, 100, 0, 128))
    assert read_photo(saved(image))[0, 0].tolist() == [227, 177, 127]


def test_grey_becomes_rgb() -> None:
    grey = colours()[:, :, 0]
    assert np.array_equal(read_photo(saved(Image.fromarray(grey))), np.repeat(grey[:, :, None], 3, axis=2))


def test_grey_with_alpha_is_blended_with_white() -> None:
    assert (read_photo(saved(Image.new("LA", (40, 40), (10, 0)))) == 255).all()
    assert (read_photo(saved(Image.new("LA", (40, 40), (10, 255)))) == 10).all()


def test_a_palette_becomes_rgb_and_its_transparent_colour_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(1, (0, 0, 20, 40))
    assert read_photo(saved(image))[0, 0].tolist() == [40, 50, 60]
    transparent = read_photo(saved(image, transparency=1))
    assert transparent[0, 0].tolist() == [255, 255, 255]
    assert transparent[0, 39].tolist() == [10, 20, 30]


def test_one_bit_becomes_black_and_white() -> None:
    assert (read_photo(saved(Image.new("1", (40, 40), 1))) == 255).all()


def test_cmyk_is_converted() -> None:
    photo = saved(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG", quality=100)
    red = read_photo(photo)[20, 20].astype(int)
    assert red[0] > 240
    assert (red[1:] < 15).all()


def test_16_bit_keeps_the_upper_eight_bits() -> None:
    deep = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 32
    assert np.array_equal(read_photo(saved(Image.fromarray(deep)))[:, :, 0], (deep >> 8).astype(np.uint8))


@pytest.mark.parametrize("suffix", ["PNG", "WEBP"])
def test_an_animation_becomes_its_first_frame(suffix: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    photo = saved(frames[0], suffix, save_all=True, append_images=frames[1:], lossless=True)
    assert read_photo(photo)[5, 5].tolist() == [255, 0, 0]


def test_webp_and_jpeg_are_read() -> None:
    assert np.array_equal(read_photo(saved(Image.fromarray(colours()), "WEBP", lossless=True)), colours())
    assert read_photo(saved(Image.fromarray(colours()), "JPEG")).shape == (40, 50, 3)


def test_a_jpeg_is_decoded_at_its_full_size() -> None:
    assert read_photo(saved(Image.new("RGB", (1600, 1200)), "JPEG")).shape == (1200, 1600, 3)


def test_every_form_of_a_photo_has_the_same_pixels(photos: list[Path]) -> None:
    path = photos[0]
    pixels = read_photo(path)
    assert np.array_equal(read_photo(str(path)), pixels)
    assert np.array_equal(read_photo(path.read_bytes()), pixels)
    with Image.open(path) as image:
        assert np.array_equal(read_photo(image), pixels)
    assert np.array_equal(read_photo(pixels), pixels)


# Refused photos


@pytest.mark.parametrize("photo", [b"", b"not a photo", b"\xff\xd8\xff", b"GIF89a" + bytes(50), b"<svg/>"])
def test_bytes_that_are_not_a_photo_are_refused(photo: bytes) -> None:
    with pytest.raises(UnreadablePhoto):
        read_photo(photo)


def test_gif_bmp_and_tiff_are_refused() -> None:
    for suffix in ("GIF", "BMP", "TIFF"):
        with pytest.raises(UnreadablePhoto, match="is not a photo"):
            read_photo(saved(Image.fromarray(colours()), suffix))


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_photo_is_refused(suffix: str) -> None:
    photo = saved(Image.fromarray(colours(200, 300)), suffix)
    for length in (20, len(photo) // 2, len(photo) - 40):
        with pytest.raises(UnreadablePhoto):
            read_photo(photo[:length])


def test_empty_and_missing_files_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(UnreadablePhoto, match=r"empty\.jpg is empty"):
        read_photo(empty)
    with pytest.raises(UnreadablePhoto, match=r"missing\.jpg cannot be read"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(UnreadablePhoto, match="cannot be read"):
        read_photo(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_100_megapixels_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    with pytest.raises(PhotoTooLarge, match="Shrink it"):
        read_photo(png_header(width, height))


def test_the_maximum_of_pixels_can_be_chosen() -> None:
    photo = saved(Image.fromarray(colours(40, 50)))
    assert read_photo(photo, max_pixels=2_000).shape == (40, 50, 3)
    for too_large in (photo, colours(40, 50), Image.fromarray(colours(40, 50))):
        with pytest.raises(PhotoTooLarge):
            read_photo(too_large, max_pixels=1_999)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))],
)
def test_other_arrays_are_refused(array: NDArray[np.uint8]) -> None:
    with pytest.raises(UnreadablePhoto, match="Expected a uint8"):
        read_photo(array)


def test_3000_by_4_is_too_thin() -> None:
    with pytest.raises(PhotoTooThin, match="3000 × 4"):
        check_shape(4, 3000, 224)
    check_shape(32, 32, 224)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]))
def test_random_bytes_raise_only_our_errors(rest: bytes, start: bytes) -> None:
    with pytest.raises(PhotoError):
        read_photo(start + rest)


@given(st.data())
def test_damaged_photos_are_decoded_or_raise_our_errors(data: st.DataObject) -> None:
    photo = bytearray(saved(Image.fromarray(colours()), data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))))
    for position in data.draw(st.lists(st.integers(0, len(photo) - 1), min_size=1, max_size=8)):
        photo[position] = data.draw(st.integers(0, 255))
    try:
        pixels = read_photo(bytes(photo))
    except PhotoError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


def test_media_types() -> None:
    image = Image.fromarray(colours())
    assert media_type(saved(image, "JPEG")) == "image/jpeg"
    assert media_type(saved(image, "PNG")) == "image/png"
    assert media_type(saved(image, "WEBP")) == "image/webp"
    with pytest.raises(UnreadablePhoto):
        media_type(saved(image, "GIF"))


# The size rule, and the golden pictures


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(96, 8_192))
def test_the_size_rule_is_the_exact_formula(height: int, width: int, size: int) -> None:
    r = min(Fraction(1), Fraction(size, max(height, width)))
    wanted = tuple(max(1, (side * r + Fraction(1, 2)).__floor__()) for side in (height, width))
    assert shrunk_size(height, width, size) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN_SIZES)
def test_the_code_still_draws_the_golden_pictures(name: str) -> None:
    assert np.array_equal(draw_golden_picture(name), golden_pictures()[name])


def test_decoding_in_threads_does_not_change_the_warning_filters(tmp_path: Path) -> None:
    for number in range(60):
        Image.fromarray(np.full((300, 300, 3), number, np.uint8)).save(tmp_path / f"{number}.jpg")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_photo, sorted(tmp_path.iterdir())))
    assert warnings.filters == before


@pytest.mark.filterwarnings("error")
def test_a_photo_that_is_too_large_for_pillow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 40):
        with pytest.raises(PhotoTooLarge):
            read_photo(saved(Image.new("RGB", (side, side))))
