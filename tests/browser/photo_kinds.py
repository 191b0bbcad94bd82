"""One photo as files of many kinds, for tests that compare how browsers and Python decode them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

ORIENTATION = 0x0112


def png_kinds(photo: Image.Image) -> dict[str, bytes]:
    """PNG files of a photo, by kind."""
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, photo.width, dtype=np.uint8), (photo.height, 1)))
    transparent = photo.copy()
    transparent.putalpha(alpha)
    grey = photo.convert("L")
    palette = photo.quantize(64)
    sixteen_bits = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "rgb": _saved(photo, "PNG"),
        "alpha": _saved(transparent, "PNG"),
        "grey": _saved(grey, "PNG"),
        "16 bits": _saved(sixteen_bits, "PNG"),
        "palette": _saved(palette, "PNG"),
        "palette with a transparent colour": _saved(palette, "PNG", transparency=3),
        "ICC profile": _saved(photo, "PNG", icc_profile=swapped_profile()),
    }


def jpeg_kinds(photo: Image.Image) -> dict[str, bytes]:
    """JPEG files of a photo, by kind: eight orientations, CMYK, grey, an ICC profile."""
    kinds = {
        f"orientation {orientation}": _saved(photo, "JPEG", quality=92, exif=_oriented(orientation))
        for orientation in range(1, 9)
    }
    return kinds | {
        "CMYK": _saved(photo.convert("CMYK"), "JPEG", quality=92),
        "grey": _saved(photo.convert("L"), "JPEG", quality=92),
        "ICC profile": _saved(photo, "JPEG", quality=92, icc_profile=swapped_profile()),
        "progressive": _saved(photo, "JPEG", quality=92, progressive=True),
    }


def swapped_profile() -> bytes:
    """An RGB profile in which red and blue are swapped: whoever applies it sees other colours."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    for entry in range(132, 132 + 12 * count, 12):
        signature = bytes(profile[entry : entry + 4])
        profile[entry : entry + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(signature, signature)
    return bytes(profile)


def _oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    save: Callable[..., None] = image.save
    save(stream, kind, **options)
    return stream.getvalue()
