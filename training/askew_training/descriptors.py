"""Describe many photos with a torch network, before it is an encoder file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from askew_client.errors import PhotoError
from askew_training.data.pixels import read_pixels
from askew_training.errors import DataError
from askew_training.networks.network import Network

DECODED_AHEAD = 16


@dataclass(frozen=True)
class Described:
    """Vectors float32 [n, C], their places in the list, and what could not be read and why."""

    vectors: NDArray[np.float32]
    places: list[int]
    unreadable: list[str]


def pooled_vectors(
    network: Network, paths: Sequence[Path], photo_size: int, on_photo: Callable[[], None]
) -> Described:
    """Describe photos up to the linear layer, one after the other, decoding ahead of the network.

    Calls `on_photo` after each. Photos that cannot be read are skipped and named in the answer. Raises
    DataError when none can.
    """
    vectors: list[NDArray[np.float32]] = []
    places: list[int] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor(max_workers=2) as decoders, torch.inference_mode():
        for place, decoded in enumerate(_ahead(decoders, paths, photo_size)):
            try:
                pixels = torch.from_numpy(np.array(decoded.result())).unsqueeze(0)
            except PhotoError as error:
                unreadable.append(str(error))
            else:
                vectors.append(network.pooled(pixels)[0].numpy())
                places.append(place)
            on_photo()
    if not vectors:
        raise DataError(
            f"None of {len(paths)} photos can be read; the first: {(unreadable or ['there is none'])[0]}"
        )
    return Described(np.stack(vectors), places, unreadable)


def _ahead(
    decoders: ThreadPoolExecutor, paths: Sequence[Path], photo_size: int
) -> Iterator[Future[NDArray[np.uint8]]]:
    """Yield the photos being decoded in order, a few ahead, so that memory stays bounded."""
    waiting: list[Future[NDArray[np.uint8]]] = []
    for path in paths:
        waiting.append(decoders.submit(read_pixels, path, photo_size))
        if len(waiting) > DECODED_AHEAD:
            yield waiting.pop(0)
    yield from waiting
