"""How far vectors move because encoder files shrink photos with another filter than cirtorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from askew_client.encoding.photos import check_shape, read_photo
from askew_client.encoding.runtime import open_session
from askew_training.export.preprocessing import preprocessing_graph
from askew_training.networks.network import Network


@dataclass(frozen=True)
class ThumbnailDifference:
    """One photo: its width and height, and the cosine between a network's vectors of it, shrunk in both ways."""

    photo: Path
    width: int
    height: int
    cosine: float


def thumbnail_differences(network: Network, photo_size: int, photos: Sequence[Path]) -> list[ThumbnailDifference]:
    """Describe photos as an encoder file does, and from thumbnails as cirtorch makes them (Pillow's LANCZOS).

    Both see the same decoded photo, with its EXIF rotation applied, which cirtorch does not do. Raises the client's
    UnreadablePhoto and PhotoTooThin.
    """
    graph = preprocessing_graph(photo_size).SerializeToString()
    session = open_session(graph)
    differences = []
    for path in photos:
        photo = read_photo(path)
        height, width = photo.shape[:2]
        check_shape(height, width, photo_size)
        (pixels,) = session.run(["pixels"], {"image": photo[None]})
        thumbnail = Image.fromarray(photo)
        thumbnail.thumbnail((photo_size, photo_size), Image.Resampling.LANCZOS)
        ours, theirs = (_describe(network, each) for each in (pixels, np.asarray(thumbnail)[None]))
        cosine = float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)))
        differences.append(ThumbnailDifference(path, width, height, cosine))
    return differences


def _describe(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    with torch.inference_mode():
        return network(torch.from_numpy(pixels.copy()))[0].double().numpy()  # type: ignore[no-any-return]
