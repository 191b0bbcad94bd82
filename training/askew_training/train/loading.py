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
from askew_training.data.batches import Batches, Draw, Plan
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


Position = tuple[int, int]
"""An epoch, and the number of a batch in it, both from 0."""


class _Pixels(Dataset[LoadedBatch]):
    """Batches by their position."""

    def __init__(
        self,
        store: PhotoStore,
        shapes: Sequence[tuple[int, int]],
        plan: Plan,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        self._store, self._shapes, self._plan = store, shapes, plan
        self._augmentation, self._seed = augmentation, seed
        self._planned: tuple[int, Batches] = (-1, [])

    def __getitem__(self, position: Position) -> LoadedBatch:
        epoch, number = position
        if self._planned[0] != epoch:
            self._planned = epoch, self._plan.epoch(epoch)
        by_shape: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
        places: dict[tuple[int, int], list[int]] = {}
        photos: list[int] = []
        unreadable: list[str] = []
        for draw in self._planned[1][number]:
            shape = self._shapes[draw.photo]
            try:
                pixels = self._pixels(draw, shape, epoch)
            except PhotoError as error:
                unreadable.append(str(error))
                continue
            by_shape.setdefault(shape, []).append(pixels)
            places.setdefault(shape, []).append(len(photos))
            photos.append(draw.photo)
        groups = [(torch.from_numpy(np.stack(by_shape[shape])), torch.tensor(places[shape])) for shape in by_shape]
        return LoadedBatch(groups, torch.tensor(photos, dtype=torch.int64), unreadable)

    def _pixels(self, draw: Draw, shape: tuple[int, int], epoch: int) -> NDArray[np.uint8]:
        photo = self._store[draw.photo]
        if self._augmentation is None:
            return cut(photo, shape)
        random = np.random.default_rng((self._seed, epoch, draw.photo, draw.view))
        return augmented(photo, shape, self._augmentation, random)


def loaded_batches(
    store: PhotoStore,
    shapes: Sequence[tuple[int, int]],
    plan: Plan,
    positions: Sequence[Position],
    augmentation: Augmentation | None,
    *,
    seed: int,
    ahead: bool,
) -> Iterator[LoadedBatch]:
    """Load the batches at some positions of a plan; `ahead`: a few before they are asked for, in a process of its own.

    That process is forked once for all positions: a fork in the middle of a run lets this process copy each page of its
    memory anew. What a photo looks like is a function of (seed, epoch, photo, view) alone: a run that is entered in its
    middle goes on exactly as one that was not left.
    """
    pixels = _Pixels(store, shapes, plan, augmentation, seed)
    if not ahead:
        return (pixels[position] for position in positions)
    loader: DataLoader[LoadedBatch] = DataLoader(
        pixels,
        batch_size=None,
        sampler=positions,
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
