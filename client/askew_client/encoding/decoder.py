"""Opens a photo file for its pixels: the container without its metadata, and how the pixels are to be turned."""

from __future__ import annotations

import contextlib
from importlib import import_module
from typing import BinaryIO

from PIL import ExifTags, Image, features

from askew_client.contract.errors import UnreadablePhoto
from askew_client.encoding.containers.heif import hide_metadata
from askew_client.encoding.containers.jpeg import read_jpeg
from askew_client.encoding.containers.orientation import UPRIGHT, orientation_of
from askew_client.encoding.containers.photo_format import HEAD_BYTES, format_of
from askew_client.encoding.containers.pieces import Pieces
from askew_client.encoding.containers.png import read_png
from askew_client.encoding.containers.webp import read_webp
from askew_client.forks import undivided

EXPECTED = "a whole JPEG, PNG, WebP, HEIC or AVIF photo"
HEIF_HINT = "Install it: pip install pillow-heif"

_WALKS = {"JPEG": read_jpeg, "PNG": read_png, "WEBP": read_webp}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_decoders() -> None:
    """Import what decodes photos, but for HEIC, which few callers meet.

    Pillow would do so at the first photo. If a process was forked at that moment by another thread, the child would wait for
    these modules for ever: nobody is there to give back the locks on them.
    """
    with undivided():
        Image.preinit()
        # The last two are for the orientation of an AVIF photo or an image. An older Pillow has no AVIF.
        for name in ("WebPImagePlugin", "AvifImagePlugin", "TiffImagePlugin", "ImageOps"):
            with contextlib.suppress(ImportError):
                import_module(f"PIL.{name}")


def open_picture(stream: BinaryIO, name: str) -> tuple[Image.Image, int]:
    """The picture of a photo file, not decoded yet, and its orientation, 1 to 8.

    Raises UnreadablePhoto for another kind of file, or one whose decoder is not installed, and what Pillow raises.
    """
    kind = format_of(stream.read(HEAD_BYTES))
    if kind is None:
        raise UnreadablePhoto(f"{name} is not a photo. Expected {EXPECTED}.")
    if kind == "HEIF":
        return _open_heif(stream, name), UPRIGHT
    if kind == "AVIF":
        image = _open_avif(stream, name)
        return image, image_orientation(image)
    picture = _WALKS[kind](stream)
    # Pillow's warnings are not silenced here: warnings.catch_warnings is not safe in threads.
    return Image.open(picture.stream, formats=(kind,)), picture.orientation


def load_picture(image: Image.Image) -> None:
    """Decode a picture. Raises what Pillow raises."""
    # libde265, which decodes HEIC, keeps a lock of its own. Other decoders were not seen to.
    with undivided() if image.format == "HEIF" else contextlib.nullcontext():
        image.load()


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """A picture turned upright."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def image_orientation(image: Image.Image) -> int:
    """The orientation, 1 to 8, that a PIL image states. Cannot raise."""
    try:
        stated = image.getexif().get(ExifTags.Base.Orientation)
    # EXIF data of an odd kind can make Pillow raise anything.
    except Exception:  # noqa: BLE001
        exif = image.info.get("exif")
        return orientation_of(exif) if isinstance(exif, bytes) else UPRIGHT
    return stated if stated in _TURNS else UPRIGHT


def _open_avif(stream: BinaryIO, name: str) -> Image.Image:
    if not features.check("avif"):
        raise UnreadablePhoto(f"{name} is an AVIF photo, which needs Pillow 11.3 or newer. {HEIF_HINT}.")
    return Image.open(_without_heif_metadata(stream), formats=("AVIF",))


def _open_heif(stream: BinaryIO, name: str) -> Image.Image:
    """The main picture. libheif turns it upright by itself, so nothing is left to turn."""
    try:
        # Imported for the first such photo: most callers never meet one, and the extra may be absent.
        with undivided():
            from pillow_heif import HeifImageFile
    except ImportError:
        raise UnreadablePhoto(
            f"{name} is a HEIC photo, and pillow-heif, which reads them, is not installed. {HEIF_HINT}."
        ) from None
    image: Image.Image = HeifImageFile(_without_heif_metadata(stream))
    return image


def _without_heif_metadata(stream: BinaryIO) -> BinaryIO:
    stream.seek(0)
    pieces = Pieces()
    pieces.add(hide_metadata(stream.read()))
    return pieces.joined(stream)
