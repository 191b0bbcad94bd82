"""What the three fixed shapes of `askew export --target mobile` cost photos of other aspects.

    askew export demo/encoders/student.onnx student-mobile --target mobile
    python benchmarks/mobile_shapes.py student-mobile demo/encoders/student.onnx demo/gallery demo/queries

Prints the cosines between the vectors of the parts and of the encoder file, by how far a photo's aspect is from its shape's.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from askew_client import Encoder
from askew_client.encoding.photos import SUFFIXES, read_photo
from askew_client.encoding.runtime import load_onnxruntime

onnxruntime = load_onnxruntime()

BOUNDS = (0.0, 1e-9, 0.02, 0.1, 0.2, 0.4, 10.0)
"""Of |ln(aspect / aspect of the shape)|: exact, within 2 %, 10 %, 22 %, 49 %, more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.parts / "manifest.json").read_text())
    encoder = Encoder(arguments.encoder, threads=1)
    if manifest["encoder_sha256"] != encoder.file.sha256:
        parser.error(
            f"{arguments.parts} holds the parts of {manifest['encoder']}, another file than {arguments.encoder}."
        )
    preprocess = onnxruntime.InferenceSession(arguments.parts / "preprocess.onnx")
    networks = {
        (each["height"], each["width"]): onnxruntime.InferenceSession(arguments.parts / each["file"])
        for each in manifest["networks"]
    }
    found: list[tuple[float, float]] = []
    for path in sorted(path for folder in arguments.photos for path in folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        photo = read_photo(path)
        (pixels,) = preprocess.run(["pixels"], {"image": photo[None]})
        height, width = pixels.shape[1:3]
        vector = networks[height, width].run(["descriptor"], {"pixels": pixels})[0][0]
        off = abs(np.log(photo.shape[1] / photo.shape[0]) - np.log(width / height))
        found.append((float(off), float(vector @ encoder.encode_pixels(photo))))
    for low, high in pairwise(BOUNDS):
        cosines = [cosine for off, cosine in found if low <= off < high]
        if cosines:
            print(
                f"aspect off by {np.expm1(low):4.0%} or more: {len(cosines):3} photos, cosine "
                f"{np.median(cosines):.4f} in the median, {min(cosines):.4f} at the lowest"
            )


if __name__ == "__main__":
    main()
