"""Small pictures of photos, by the decoding rules that all parts of Askew share."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from askew_client.encoding.photos import read_photo

_QUALITY = 60


def thumbnail(photo: Path, size: int, *, max_pixels: int) -> bytes:
    """A WebP picture of a photo whose longest side is at most `size` pixels. Raises PhotoError."""
    picture = Image.fromarray(read_photo(photo, max_pixels=max_pixels))
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=_QUALITY)
    return stream.getvalue()
