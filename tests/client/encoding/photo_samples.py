"""Photos with all kinds of metadata, the same photos without any, and where the metadata stands in their files."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo


@dataclass(frozen=True)
class Sample:
    """A photo file with metadata. `bare`: the same without. `metadata`: the bytes (start, end) that are metadata."""

    name: str
    content: bytes
    bare: bytes
    metadata: tuple[tuple[int, int], ...]


def picture(mode: str = "RGB", size: tuple[int, int] = (80, 56)) -> Image.Image:
    """A picture with a gradient, edges, and some noise."""
    random = np.random.default_rng(len(mode))
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    values = np.stack([x, y, (x + y) / 2], axis=-1) + random.normal(0, 6, (size[1], size[0], 3))
    values[10:30, 12:50] = (200, 40, 90)
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.fromarray(x.astype(np.uint8)))
        return image.convert(mode)
    if mode == "I;16":
        return Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) << 8) + 77)
    return image.convert(mode)


def saved(image: Image.Image, suffix: str, **options: object) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def exif_data(orientation: int = 6, *, order: str = "<", padding: int = 0) -> bytes:
    """EXIF data of a camera: its name, the orientation, a resolution, and a thumbnail that is a whole JPEG."""
    thumbnail = saved(picture(size=(16, 12)), "JPEG")
    make = b"Camera of some maker\0"
    entries = 5
    after = 8 + 2 + entries * 12 + 4
    second = after + len(make) + 8 + padding
    rows = [
        (0x010F, 2, len(make), after),
        (0x0112, 3, 1, orientation if order == "<" else orientation << 16),
        (0x011A, 5, 1, after + len(make)),
        (0x0201, 4, 1, second),
        (0x0202, 4, 1, len(thumbnail)),
    ]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, entries)
    body = b"".join(struct.pack(f"{order}HHII", *row) for row in rows) + struct.pack(f"{order}I", 0)
    return b"Exif\0\0" + head + body + make + struct.pack(f"{order}II", 72, 1) + bytes(padding) + thumbnail


def samples(orientation: int = 6) -> Iterator[Sample]:
    """JPEG, PNG and WebP photos of many modes and ways of coding."""
    exif = exif_data(orientation)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Make="Some"/></x:xmpmeta>'
    jpegs: dict[str, tuple[str, dict[str, object]]] = {
        "baseline": ("RGB", {}),
        "progressive": ("RGB", {"progressive": True, "quality": 95}),
        "grey": ("L", {}),
        "cmyk": ("CMYK", {"quality": 95}),
        "unsampled": ("RGB", {"subsampling": 0, "restart_marker_rows": 1}),
        "rgb": ("RGB", {"keep_rgb": True}),
    }
    for name, (mode, options) in jpegs.items():
        metadata: dict[str, object] = {"exif": exif, "icc_profile": icc, "xmp": xmp, "comment": b"a comment"}
        content = saved(picture(mode), "JPEG", **options, **metadata)
        bare = saved(picture(mode), "JPEG", **options)
        yield Sample(f"jpeg {name}", content, bare, tuple(_jpeg_metadata(content)))
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        text = PngInfo()
        text.add_text("Comment", "some text, not compressed " * 4)
        text.add_text("Description", "compressed " * 40, zip=True)
        text.add_itxt("Title", "Überschrift", zip=True)
        content = saved(picture(mode), "PNG", exif=exif, icc_profile=icc, pnginfo=text, dpi=(72, 72))
        yield Sample(f"png {mode}", content, saved(picture(mode), "PNG"), tuple(_png_metadata(content)))
    webps: dict[str, dict[str, object]] = {"lossy": {"quality": 80}, "lossless": {"lossless": True}}
    for name, options in webps.items():
        for mode in ("RGB", "RGBA"):
            content = saved(picture(mode), "WEBP", exif=exif, icc_profile=icc, xmp=xmp, **options)
            bare = saved(picture(mode), "WEBP", **options)
            yield Sample(f"webp {name} {mode}", content, bare, tuple(_webp_metadata(content)))


def _jpeg_metadata(content: bytes) -> Iterator[tuple[int, int]]:
    position = 2
    while content[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4])
        if 0xE1 <= content[position + 1] <= 0xED or content[position + 1] == 0xFE:
            # The marker itself is left alone: with another one, the bytes are no metadata.
            yield position + 2, end
        position = end


def _png_metadata(content: bytes) -> Iterator[tuple[int, int]]:
    position = 8
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        if content[position + 4 : position + 8] not in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            yield position, end
        position = end


def _webp_metadata(content: bytes) -> Iterator[tuple[int, int]]:
    position = 12
    while position < len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        if content[position : position + 4] in {b"EXIF", b"XMP ", b"ICCP"}:
            yield position, end
        position = end
