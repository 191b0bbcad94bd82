"""How much the cap rule of phones (askew_client.encoding.cap) changes a vector.

    python benchmarks/capping.py PHOTOS [--encoder demo/encoders/student.onnx] [--photos 50]

Each photo is enlarged to 12 megapixels (Lanczos, with the noise of a camera), because photos of that size are rare in public sets;
photos that have them already are taken as they are. Prints the cosines between the vectors of the whole and the capped photo, beside
those between the photo and the same photo as a JPEG of quality 85.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client import Encoder
from askew_client.encoding.cap import cap_pixels
from askew_client.encoding.photos import SUFFIXES, read_photo

LONGEST_SIDE = 4_032


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="PHOTOS")
    parser.add_argument("--encoder", type=Path, default=Path("demo/encoders/student.onnx"))
    parser.add_argument("--photos", type=int, default=50)
    arguments = parser.parse_args()
    encoder = Encoder(arguments.encoder, threads=1)
    paths = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = paths[:: max(1, len(paths) // arguments.photos)][: arguments.photos]
    capped, compressed = [], []
    for seed, path in enumerate(chosen):
        large = enlarge(read_photo(path), np.random.default_rng(seed))
        vector = encoder.encode_pixels(large)
        capped.append(float(vector @ encoder.encode_pixels(cap_pixels(large, encoder.manifest.photo_size))))
        compressed.append(float(vector @ encoder.encode_pixels(recompress(large))))
    for name, cosines in (("capped", capped), ("JPEG 85", compressed)):
        print(f"{name:8} {len(cosines)} photos: lowest cosine {min(cosines):.5f}, median {np.median(cosines):.5f}")


def enlarge(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    factor = LONGEST_SIDE / max(height, width)
    if factor <= 1:
        return pixels
    size = (round(width * factor), round(height * factor))
    large = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)).astype(np.int16)
    noisy: NDArray[np.uint8] = (
        (large + random.normal(0, 4, large.shape).round().astype(np.int16)).clip(0, 255).astype(np.uint8)
    )
    return noisy


def recompress(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return read_photo(stream.getvalue())


if __name__ == "__main__":
    main()
