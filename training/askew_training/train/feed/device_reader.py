"""Reading batches for a GPU: processes read photos and draw views, and the GPU computes these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from askew_client.errors import PhotoError
from askew_training.data.augmentation import Augmentation, View, draw_view
from askew_training.data.batches import Batches, nearest_shape
from askew_training.data.store import PhotoStore
from askew_training.networks.transfer import put
from askew_training.train.feed.resident import Resident
from askew_training.train.feed.views import PackedPhotos, ViewBatch, compute_views
from askew_training.train.reader import LoadedBatch, PhotoReader, PixelsOfTasks, Task, end_processes, make_loader

Part = Callable[[str], AbstractContextManager[None]]
"""Enters a part of a step, by its name."""


def not_timed(_name: str) -> AbstractContextManager[None]:
    """A part of a step that nobody times."""
    return nullcontext()


@dataclass(frozen=True)
class DrawnBatch:
    """A batch that a GPU has still to compute.

    `views`: of the photos that could be read. `pixels`: uint8 [P, 3], of these photos alone; None if all photos are on the
    device. `photos`, `draws`, `unreadable`: as in `LoadedBatch`.
    """

    views: ViewBatch | None
    pixels: Tensor | None
    photos: Tensor
    draws: Tensor
    unreadable: list[str]

    def pin_memory(self) -> DrawnBatch:
        """The same with its numbers and pixels in pinned memory, from which a GPU copies them without waiting."""
        return replace(
            self,
            views=self.views and self.views.pin_memory(),
            pixels=None if self.pixels is None else self.pixels.pin_memory(),
        )


class DrawnViews(Dataset[DrawnBatch | LoadedBatch]):
    """Batches with drawn views for an epoch; without an epoch, what the CPU cuts: that must not depend on the device."""

    def __init__(
        self,
        cut: PixelsOfTasks,
        store: PhotoStore,
        sides: Sequence[tuple[int, int]],
        shapes: Sequence[tuple[int, int]],
        augmentation: Augmentation | None,
        seed: int,
        resident: Resident | None,
    ) -> None:
        """`sides`: (height, width) that each photo should have in a batch. `shapes`: those that a batch may have."""
        self._cut, self._store, self._sides, self._shapes = cut, store, sides, shapes
        self._augmentation, self._seed = augmentation, seed
        # The pixels stay out: a process that reads must not touch the device.
        self._places = None if resident is None else resident.photos.places
        self._unreadable = {} if resident is None else resident.unreadable

    def __getitem__(self, task: Task) -> DrawnBatch | LoadedBatch:
        if task.epoch is None:
            return self._cut[task]
        packed, readable, unreadable = self._read([draw.photo for draw in task.draws])
        chosen = [(number, draw) for number, draw in enumerate(task.draws) if draw.photo in readable]
        photos = torch.tensor([draw.photo for _, draw in chosen], dtype=torch.int64)
        draws = torch.tensor([number for number, _ in chosen], dtype=torch.int64)
        if not chosen:
            return DrawnBatch(None, None, photos, draws, unreadable)
        shape = nearest_shape([self._sides[draw.photo] for draw in task.draws], self._shapes)
        all_places = self._places if packed is None else packed.places
        assert all_places is not None
        places = all_places[[readable[draw.photo] for _, draw in chosen]]
        views = [
            self._draw((task.epoch, draw.photo, draw.view), (int(place[1]), int(place[2])), shape)
            for (_, draw), place in zip(chosen, places, strict=True)
        ]
        pixels = None if packed is None else packed.pixels
        return DrawnBatch(ViewBatch.of(views, places, shape), pixels, photos, draws, unreadable)

    def _read(self, photos: Sequence[int]) -> tuple[PackedPhotos | None, dict[int, int], list[str]]:
        """The photos of a batch, packed, the place of each among them, and a sentence for each draw that has none."""
        if self._places is not None:
            unreadable = [self._unreadable[photo] for photo in photos if photo in self._unreadable]
            return None, {photo: photo for photo in photos if photo not in self._unreadable}, unreadable
        pixels: list[NDArray[np.uint8]] = []
        readable: dict[int, int] = {}
        failed: dict[int, str] = {}
        for photo in dict.fromkeys(photos):
            try:
                pixels.append(self._store[photo])
                readable[photo] = len(readable)
            except PhotoError as error:
                failed[photo] = str(error)
        return PackedPhotos.of(pixels), readable, [failed[photo] for photo in photos if photo in failed]

    def _draw(self, numbers: tuple[int, int, int], photo: tuple[int, int], shape: tuple[int, int]) -> View:
        if self._augmentation is None:
            return View()
        return draw_view(photo, shape, self._augmentation, np.random.default_rng((self._seed, *numbers)))


class DeviceReader(PhotoReader):
    """Reads batches like `PhotoReader`, whose views for an epoch a device computes, all of a batch in one shape.

    The next batch is given to the device before the present one is used, so that it never waits for a batch to be read.
    """

    def __init__(
        self,
        store: PhotoStore,
        sides: Sequence[tuple[int, int]],
        shapes: Sequence[tuple[int, int]],
        allowed: Sequence[tuple[int, int]],
        augmentation: Augmentation | None,
        *,
        seed: int,
        readers: int,
        device: torch.device,
        resident: Resident | None,
        part: Part = not_timed,
    ) -> None:
        """`sides`: (height, width) that each photo should have in a batch. `shapes`: that each is cut to without an epoch.
        `allowed`: those that a batch of views may have. `part`: times "augmentation"."""
        super().__init__(store, shapes, augmentation, seed=seed)
        self._device, self._part = device, part
        self._all_pixels = None if resident is None else resident.photos.pixels
        drawn = DrawnViews(self._pixels, store, sides, allowed, augmentation, seed, resident)
        self._drawn = make_loader(drawn, self._tasks, readers, device.type == "cuda")

    def read(self, batches: Batches, epoch: int | None = None) -> Iterator[LoadedBatch]:
        """See `PhotoReader`. The pixels are on the device already."""
        self._tasks[:] = [Task(draws, epoch) for draws in batches]
        return _one_ahead(map(self._compute, self._drawn))

    def close(self) -> None:
        """See `PhotoReader`."""
        end_processes(self._drawn)

    def _compute(self, drawn: DrawnBatch | LoadedBatch) -> LoadedBatch:
        if isinstance(drawn, LoadedBatch):
            groups = [(put(pixels, self._device), places) for pixels, places in drawn.groups]
            return replace(drawn, groups=groups)
        groups = []
        if drawn.views is not None:
            pixels = self._all_pixels if drawn.pixels is None else put(drawn.pixels, self._device)
            assert pixels is not None
            with self._part("augmentation"):
                groups = [(compute_views(pixels, drawn.views), torch.arange(len(drawn.photos)))]
        return LoadedBatch(groups, drawn.photos, drawn.draws, drawn.unreadable)


def _one_ahead(batches: Iterable[LoadedBatch]) -> Iterator[LoadedBatch]:
    """Yield each batch after the next one has been asked for."""
    iterator = iter(batches)
    present = next(iterator, None)
    while present is not None:
        following = next(iterator, None)
        yield present
        present = following
