"""Batches of pixels, read ahead by a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from askew_client.errors import PhotoError
from askew_training.data.augmentation import Augmentation, augmented, cut
from askew_training.data.batches import Batches, Draw
from askew_training.data.store import PhotoStore


@dataclass(frozen=True)
class LoadedBatch:
    """The pixels of a batch, by shape, and what could not be read.

    `groups`: the photos of each shape, uint8 [n, h, w, 3], and the places, int64 [n], that they have among `photos`.
    `photos`: int64 [B], the indices of those that were read, in the order of the draws.
    """

    groups: list[tuple[Tensor, Tensor]]
    photos: Tensor
    unreadable: list[str]


class _EpochOfPixels(Dataset[LoadedBatch]):
    """The batches of one epoch by number."""

    def __init__(
        self,
        store: PhotoStore,
        shapes: Sequence[tuple[int, int]],
        batches: Batches,
        augmentation: Augmentation | None,
        seed: tuple[int, int],
    ) -> None:
        self._store, self._shapes, self._batches = store, shapes, batches
        self._augmentation, self._seed = augmentation, seed

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> LoadedBatch:
        by_shape: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
        places: dict[tuple[int, int], list[int]] = {}
        photos: list[int] = []
        unreadable: list[str] = []
        for draw in self._batches[number]:
            shape = self._shapes[draw.photo]
            try:
                pixels = self._pixels(draw, shape)
            except PhotoError as error:
                unreadable.append(str(error))
                continue
            by_shape.setdefault(shape, []).append(pixels)
            places.setdefault(shape, []).append(len(photos))
            photos.append(draw.photo)
        groups = [(torch.from_numpy(np.stack(by_shape[shape])), torch.tensor(places[shape])) for shape in by_shape]
        return LoadedBatch(groups, torch.tensor(photos, dtype=torch.int64), unreadable)

    def _pixels(self, draw: Draw, shape: tuple[int, int]) -> NDArray[np.uint8]:
        photo = self._store[draw.photo]
        if self._augmentation is None:
            return cut(photo, shape)
        return augmented(photo, shape, self._augmentation, np.random.default_rng((*self._seed, draw.photo, draw.view)))


def loaded_batches(
    store: PhotoStore,
    shapes: Sequence[tuple[int, int]],
    batches: Batches,
    augmentation: Augmentation | None,
    *,
    seed: int,
    epoch: int,
    first: int = 0,
) -> Iterator[LoadedBatch]:
    """Load the batches of an epoch from number `first` on, a few ahead, in a process beside this one.

    What a photo looks like is a function of (seed, epoch, photo, view) alone: an epoch that is entered in its middle
    goes on exactly as one that was not left.
    """
    pixels = _EpochOfPixels(store, shapes, batches, augmentation, (seed, epoch))
    loader: DataLoader[LoadedBatch] = DataLoader(
        pixels,
        batch_size=None,
        sampler=range(first, len(batches)),
        num_workers=1,
        prefetch_factor=4,
        multiprocessing_context="fork",
        worker_init_fn=_quiet_worker,
    )
    return iter(loader)


def _quiet_worker(_number: int) -> None:
    """Ctrl-C is the trainer's: it saves first, and then ends its worker."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
