"""Decoding photos: the decoding rules and the size rule that all parts of Askew share.

| the photo | becomes |
|---|---|
| EXIF orientation | applied |
| ICC profile | ignored |
| alpha, or a transparent palette colour | blended with white |
| grey, palette, CMYK, 16-bit | converted to 8-bit RGB (16-bit: the upper eight bits) |
| an animation | its first frame |
| JPEG draft mode | never used |

JPEG, PNG and WebP are read, AVIF where Pillow has it, and HEIC with pillow-heif (the extra `heif`). A file is judged by its
content, whatever its name. The number of pixels is checked before anything is decoded. Metadata is never decoded, so that
none can spoil the pixels; the orientation is read from EXIF data alone, or from the container of HEIC and AVIF.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client.contract.errors import EncoderError, PhotoError, PhotoTooLarge, PhotoTooThin, UnreadablePhoto
from askew_client.encoding.containers.orientation import SIDEWAYS
from askew_client.encoding.containers.photo_format import HEAD_BYTES, format_of
from askew_client.encoding.decoder import EXPECTED, image_orientation, load_picture, open_picture, turned

SUFFIX_BY_MEDIA_TYPE = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/heic": ".heic",
    "image/avif": ".avif",
}
"""The file name suffix of a stored photo."""
SUFFIXES = frozenset({*SUFFIX_BY_MEDIA_TYPE.values(), ".jpeg", ".jpe", ".jfif", ".heif"})
"""The suffixes, in small letters, of files that are taken for photos where a folder is listed."""
MEDIA_TYPE_BYTES = HEAD_BYTES
"""How many of a file's first bytes `media_type` needs."""
MAX_PIXELS = 64_000_000
"""The default maximum: 64 megapixels, 192 MB of RGB. More than phones produce, less than a decompression bomb."""
SHORTEST_SIDE = 32

_log = logging.getLogger(__name__)

Photo = str | Path | bytes | Image.Image | NDArray[np.uint8]


def read_photo(photo: Photo, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a photo by the rules of this module.

    `photo`: a path, the bytes of a file, a PIL image, or a uint8 [H, W, 3] RGB array (returned as it is). Returns uint8
    [H, W, 3] RGB. Raises UnreadablePhoto, or PhotoTooLarge if it has more than `max_pixels` pixels.
    """
    if isinstance(photo, np.ndarray):
        return _checked_array(photo, max_pixels)
    with photo_border(name_of(photo), max_pixels):
        if isinstance(photo, Image.Image):
            _check_pixels(photo.width, photo.height, max_pixels, "The image")
            photo.load()
            return _to_rgb(photo, image_orientation(photo))
        with _opened(photo, max_pixels) as (image, orientation):
            load_picture(image)
            return _to_rgb(image, orientation)


def read_shape(photo: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) of what `read_photo` would return, from the header; EXIF rotation is applied.

    Raises what `read_photo` raises, except for damage behind the header.
    """
    with photo_border(name_of(photo), max_pixels), _opened(photo, max_pixels) as (image, orientation):
        return (image.width, image.height) if orientation in SIDEWAYS else (image.height, image.width)


@contextmanager
def photo_border(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """What one photo does ends here: whatever is raised within becomes a refusal of that photo, a PhotoError.

    What a decoder is not known to raise, a lack of memory included, is logged with its traceback.
    """
    try:
        yield
    # An encoder that fails is not the photo's fault.
    except (PhotoError, EncoderError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PhotoTooLarge(f"{name} has more than the {max_pixels} pixels that are allowed. Shrink it.") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise UnreadablePhoto(f"{name} {_unreadable_reason(error)}. Expected {EXPECTED}.") from None
    # Decoders and engines can raise anything, and one photo must not end the work on others.
    except Exception as error:  # noqa: BLE001
        _log.exception("%s raised an unexpected %s", name, type(error).__name__)
        raise UnreadablePhoto(f"{name} {_unreadable_reason(error)}. Expected {EXPECTED}.") from None


def name_of(photo: Photo) -> str:
    """What sentences call a photo. Raises TypeError for what cannot be one."""
    if isinstance(photo, str | Path):
        return str(photo)
    if isinstance(photo, bytes | np.ndarray):
        return "The photo"
    if isinstance(photo, Image.Image):
        return "The image"
    raise TypeError(f"Expected a path, bytes, a PIL image or a uint8 [H, W, 3] array, got {type(photo).__name__}.")


def media_type(photo: bytes) -> str:
    """The media type of a photo file by its first `MEDIA_TYPE_BYTES` bytes. Raises UnreadablePhoto for another kind."""
    kind = format_of(photo[:HEAD_BYTES])
    if kind is None:
        raise UnreadablePhoto("Expected a JPEG, PNG, WebP, HEIC or AVIF photo, got another kind of file.")
    return "image/heic" if kind == "HEIF" else f"image/{kind.lower()}"


def shrunk_size(height: int, width: int, photo_size: int) -> tuple[int, int]:
    """The size rule: (height, width) after shrinking the longest side to `photo_size`. Photos are never enlarged.

    r = min(1, S / max(H, W)); each side becomes max(1, floor(side · r + ½)), computed in integers.
    """
    longest = max(height, width)
    if longest <= photo_size:
        return height, width
    return (
        max(1, (2 * height * photo_size + longest) // (2 * longest)),
        max(1, (2 * width * photo_size + longest) // (2 * longest)),
    )


def check_shape(height: int, width: int, photo_size: int) -> None:
    """Raise PhotoTooThin if the shorter side would be below 32 px at this photo size."""
    shrunk = shrunk_size(height, width, photo_size)
    if min(shrunk) < SHORTEST_SIDE:
        raise PhotoTooThin(
            f"Expected a photo whose shorter side is at least {SHORTEST_SIDE} px at this encoder's photo size, got "
            f"{width} × {height} px, which becomes {shrunk[1]} × {shrunk[0]} px. Crop the photo to its subject."
        )


@contextmanager
def _opened(photo: str | Path | bytes, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """A photo whose header was read and checked, and its orientation."""
    name, stream = _open(photo)
    with stream:
        image, orientation = open_picture(stream, name)
        with image:
            _check_pixels(image.width, image.height, max_pixels, name)
            yield image, orientation


def _open(photo: str | Path | bytes) -> tuple[str, BinaryIO]:
    if isinstance(photo, bytes):
        if not photo:
            raise UnreadablePhoto(f"The photo is empty (0 bytes). Expected {EXPECTED}.")
        return "The photo", io.BytesIO(photo)
    path = Path(photo)
    try:
        stream = path.open("rb")
        if not path.stat().st_size:
            stream.close()
            raise UnreadablePhoto(f"{path} is empty (0 bytes). Expected {EXPECTED}.")
    except OSError as error:
        raise UnreadablePhoto(f"{path} cannot be read: {error.strerror}.") from None
    return str(path), stream


def _checked_array(array: NDArray[np.uint8], max_pixels: int) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise UnreadablePhoto(
            f"Expected a uint8 [H, W, 3] RGB array, got {array.dtype} {list(array.shape)}. "
            "Pass several photos as a list."
        )
    _check_pixels(array.shape[1], array.shape[0], max_pixels, "The array")
    return np.ascontiguousarray(array)


def _check_pixels(width: int, height: int, max_pixels: int, name: str) -> None:
    if width * height > max_pixels:
        raise PhotoTooLarge(
            f"{name} has {width} × {height} = {width * height / 1e6:.1f} megapixels; "
            f"at most {max_pixels / 1e6:g} are allowed. Shrink it."
        )


def _to_rgb(image: Image.Image, orientation: int) -> NDArray[np.uint8]:
    image = turned(image, orientation)
    if image.mode.startswith("I;16") or image.mode == "I":
        upper_bits = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(upper_bits[:, :, None], 3, axis=2)
    if image.mode in {"LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _unreadable_reason(error: BaseException) -> str:
    text = str(error)
    if "cannot identify" in text:
        return "cannot be decoded (its header is damaged)"
    if "truncated" in text or "Truncated" in text:
        return "is truncated"
    if isinstance(error, MemoryError):
        return "needs more memory than is available"
    return f"cannot be decoded ({text.splitlines()[0][:120] if text else type(error).__name__})"
