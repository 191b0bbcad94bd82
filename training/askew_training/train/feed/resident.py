"""Decoded photos that stay in the memory of the device that computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from askew_client.errors import PhotoError
from askew_training.data.parallel import BLOCK, map_in_threads
from askew_training.data.store import PhotoStore
from askew_training.networks.transfer import put
from askew_training.train.feed.views import PackedPhotos, places_of

SHARE = 0.25
"""Photos stay on a device if all of them take at most this share of its free memory."""


@dataclass(frozen=True)
class Resident:
    """All photos of a store on a device; `unreadable`: a sentence for each photo that has no pixels, by its index."""

    photos: PackedPhotos
    unreadable: dict[int, str]


def sides_of(store: PhotoStore) -> NDArray[np.int64]:
    """The height and width of each photo of a store, int64 [n, 2], from the photos' headers."""
    return np.array([store.shape(index) for index in range(len(store))], dtype=np.int64).reshape(-1, 2)


def budget_of(device: torch.device) -> int:
    """How many bytes of decoded photos may stay on a device: a quarter of its free memory."""
    if device.type == "cuda":
        return int(SHARE * torch.cuda.mem_get_info(device)[0])
    return int(SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def hold(
    store: PhotoStore, device: torch.device, budget: int, on_photo: Callable[[], None] = lambda: None
) -> Resident | None:
    """Decode all photos of a store on all cores and keep them on a device; None if they take more than `budget` bytes.

    `on_photo` is called after each.
    """
    sides = sides_of(store)
    places = places_of(sides)
    count = int(sides.prod(1).sum())
    if not 0 < 3 * count <= budget:
        return None

    def read(index: int) -> NDArray[np.uint8] | str:
        try:
            photo = store[index]
        except PhotoError as error:
            return str(error)
        if photo.shape[:2] != tuple(sides[index]):
            return f"Photo {index} was changed while it was read: expected {tuple(sides[index])} px, got {photo.shape[:2]}."
        return photo

    pixels = torch.zeros((count, 3), dtype=torch.uint8, device=device)
    unreadable: dict[int, str] = {}
    for start in range(0, len(store), BLOCK):
        block = range(start, min(start + BLOCK, len(store)))
        photos: list[NDArray[np.uint8]] = []
        for index, result in zip(block, map_in_threads(read, block), strict=True):
            if isinstance(result, str):
                unreadable[index] = result
                result = np.zeros((*sides[index], 3), dtype=np.uint8)
            photos.append(result.reshape(-1, 3))
            on_photo()
        first = int(places[start, 0])
        together = torch.from_numpy(np.concatenate(photos))
        pixels[first : first + len(together)] = put(together, device)
    return Resident(PackedPhotos(pixels, places), unreadable)
