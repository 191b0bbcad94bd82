"""The gate of an export: a graph is written only if it does what its network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from askew_client.encoding.photos import shrunk_size
from askew_client.encoding.runtime import load_onnxruntime, open_session
from askew_training.data.pixels import shrink
from askew_training.errors import GateError
from askew_training.networks.network import Network

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session

COSINE_DISTANCE = {"fp32": 1e-5, "fp16": 5e-5, "int8": 0.02, "int8-compute": 1e-3}
"""The largest allowed cosine distance between a graph's vectors and torch's, by the precision of the stored weights.
Two photos of one thing are some tenths apart. With int8-compute torch rounds as well: what is left are features that lie
between two levels, which engines round to different ones."""
SAME_VECTORS = 1e-6
"""The largest allowed cosine distance between two graphs with the same weights."""
GREY_LEVELS = 0.5
"""The largest allowed difference between the graph's resizing and Pillow's, in grey levels, averaged over a photo."""


@dataclass(frozen=True)
class GateReport:
    """The largest differences found: cosine distance to torch, and mean grey levels to Pillow."""

    cosine_distance: float
    grey_levels: float
    photos: int


def check_graph(
    model: onnx.ModelProto, network: Network, photo_size: int, cosine_distance: float = COSINE_DISTANCE["fp32"]
) -> GateReport:
    """Compare a graph with its network on photos of many sizes: odd, thin, smaller and larger than `photo_size`.

    Torch gets the graph's own `pixels`, so that the network is compared independently of the resizing, which is
    compared with Pillow. `cosine_distance`: the largest allowed distance to torch. Raises GateError with the first size
    that differs.
    """
    session = _session_with_pixels(model)
    distances, differences = [], []
    photos = [_photo(height, width) for height, width in _sizes(photo_size)]
    for photo in photos:
        distance, difference = _compare(session, network, photo, photo_size)
        name = f"a photo of {photo.shape[1]} × {photo.shape[0]} px"
        if not distance <= cosine_distance:
            raise GateError(
                f"The graph differs from torch by a cosine distance of {distance:.2g} on {name}; expected at most "
                f"{cosine_distance:g}. Nothing was written."
            )
        if not difference <= GREY_LEVELS:
            raise GateError(
                f"The graph resizes {name} differently from Pillow, by {difference:.2g} grey levels on "
                f"average; expected at most {GREY_LEVELS:g}. Nothing was written."
            )
        distances.append(distance)
        differences.append(difference)
    return GateReport(max(distances), max(differences), len(photos))


def _compare(session: Session, network: Network, photo: NDArray[np.uint8], photo_size: int) -> tuple[float, float]:
    pixels, descriptor = session.run(["pixels", "descriptor"], {"image": photo[None]})
    expected_size = shrunk_size(photo.shape[0], photo.shape[1], photo_size)
    if pixels.shape[1:3] != expected_size:
        raise GateError(
            f"The graph shrinks a photo of {photo.shape[1]} × {photo.shape[0]} px to {pixels.shape[2]} × "
            f"{pixels.shape[1]}; expected {expected_size[1]} × {expected_size[0]}. Nothing was written."
        )
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels))[0].numpy().astype(np.float64)
    actual = descriptor[0].astype(np.float64)
    distance = 1 - float(actual @ expected) / float(np.linalg.norm(expected))
    length = float(np.linalg.norm(actual))
    if not abs(length - 1) < 1e-4:
        raise GateError(f"The graph's vectors have length {length:.4g}; expected 1. Nothing was written.")
    difference = np.abs(pixels[0].astype(np.float64) - shrink(photo, photo_size)).mean()
    return max(distance, 0.0), float(difference)


def check_same(old: onnx.ModelProto, new: onnx.ModelProto, photo_size: int) -> float:
    """Compare two graphs of one encoder on the photos of `check_graph`: their `pixels` must be equal to the bit.

    Returns the largest cosine distance. Raises GateError if it is above SAME_VECTORS, or if `pixels` differ.
    """
    sessions = [_session_with_pixels(model) for model in (old, new)]
    distances = []
    for height, width in _sizes(photo_size):
        photo, name = _photo(height, width)[None], f"a photo of {width} × {height} px"
        pixels, vectors = zip(
            *(session.run(["pixels", "descriptor"], {"image": photo}) for session in sessions), strict=True
        )
        if not np.array_equal(*pixels):
            raise GateError(f"The new graph resizes {name} differently from the old one. Nothing was written.")
        distances.append(cosine_distance(vectors[0][0], vectors[1][0]))
        if not distances[-1] <= SAME_VECTORS:
            raise GateError(
                f"The new graph differs from the old one by a cosine distance of {distances[-1]:.2g} on {name}; "
                f"expected at most {SAME_VECTORS:g}. Nothing was written."
            )
    return max(distances)


def cosine_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """1 minus the cosine of two float32 [D] vectors, computed in double precision; never negative."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    return max(0.0, 1 - float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))


def _session_with_pixels(model: onnx.ModelProto) -> Session:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", "h", "w", 3]))
    options = load_onnxruntime().SessionOptions()
    options.log_severity_level = 3
    return open_session(opened.SerializeToString(), options)


def _sizes(photo_size: int) -> list[tuple[int, int]]:
    """Heights and widths: S itself, smaller, slightly and much larger, upright, thin, odd."""
    s = photo_size
    return [
        (s, s),
        (s // 2 + 1, s // 3 + 2),
        (s - 1, s // 2 - 1),
        (s + 1, s - 3),
        (2 * s + 1, s + 35),
        (3 * s // 4, s),
        (s + 117, 2 * s + 13),
        (73, 2 * s - 1),
        (3 * s + 7, 3 * 33 + 1),
    ]


def _photo(height: int, width: int) -> NDArray[np.uint8]:
    """A picture like a photo, the same on every machine: smooth colours with fine noise."""
    random = np.random.default_rng(height * 100_003 + width)
    coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    noise = random.normal(0, 12, (height, width, 3))
    return (smooth + noise).clip(0, 255).astype(np.uint8)
