"""Reading batches of pixels, if wanted ahead of time in a separate process."""

from __future__ import annotations

import gc
import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from askew_client.errors import PhotoError
from askew_training.data.augmentation import Augmentation, augment, cut
from askew_training.data.batches import Batches, Draw
from askew_training.data.store import PhotoStore

Loaded = TypeVar("Loaded", covariant=True)


@dataclass(frozen=True)
class LoadedBatch:
    """The pixels of a batch, grouped by shape, and a sentence for each photo that could not be read.

    `groups`: for each shape, the pixels, uint8 [n, h, w, 3], and the places of these photos in `photos`, int64 [n].
    `photos`: int64 [B], the indices of the photos that were read, in the order of the draws. `draws`: int64 [B], the
    number of each photo's draw in the batch.
    """

    groups: list[tuple[Tensor, Tensor]]
    photos: Tensor
    draws: Tensor
    unreadable: list[str]

    def pin_memory(self) -> LoadedBatch:
        """The same with its pixels in pinned memory, from which a GPU copies them without waiting."""
        return replace(self, groups=[(pixels.pin_memory(), places) for pixels, places in self.groups])


@dataclass(frozen=True)
class Task:
    """One batch to read: its draws, and the epoch for which it is augmented; None: not augmented."""

    draws: list[Draw]
    epoch: int | None


class PixelsOfTasks(Dataset[LoadedBatch]):
    """Loaded batches, by their task."""

    def __init__(
        self, store: PhotoStore, shapes: Sequence[tuple[int, int]], augmentation: Augmentation | None, seed: int
    ) -> None:
        self._store, self._shapes = store, shapes
        self._augmentation, self._seed = augmentation, seed

    def __getitem__(self, task: Task) -> LoadedBatch:
        by_shape: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
        places: dict[tuple[int, int], list[int]] = {}
        photos: list[int] = []
        draws: list[int] = []
        unreadable: list[str] = []
        for number, draw in enumerate(task.draws):
            shape = self._shapes[draw.photo]
            try:
                pixels = self._read(draw, shape, task.epoch)
            except PhotoError as error:
                unreadable.append(str(error))
                continue
            by_shape.setdefault(shape, []).append(pixels)
            places.setdefault(shape, []).append(len(photos))
            photos.append(draw.photo)
            draws.append(number)
        groups = [(torch.from_numpy(np.stack(by_shape[shape])), torch.tensor(places[shape])) for shape in by_shape]
        return LoadedBatch(groups, _to_tensor(photos), _to_tensor(draws), unreadable)

    def _read(self, draw: Draw, shape: tuple[int, int], epoch: int | None) -> NDArray[np.uint8]:
        photo = self._store[draw.photo]
        if self._augmentation is None or epoch is None:
            return cut(photo, shape)
        random = np.random.default_rng((self._seed, epoch, draw.photo, draw.view))
        return augment(photo, shape, self._augmentation, random)


class PhotoReader:
    """Reads batches of photos. With `ahead`, a separate process reads a few of them before they are needed.

    That process is forked once, by `start` or at the first batch: after a fork in the middle of a run, this process
    would copy every page of its memory that it writes to. The pixels depend only on (seed, epoch, photo, view), so a run
    that is resumed in the middle continues exactly like one that was not stopped.
    """

    def __init__(
        self,
        store: PhotoStore,
        shapes: Sequence[tuple[int, int]],
        augmentation: Augmentation | None = None,
        *,
        seed: int = 0,
        ahead: bool = False,
        readers: int = 1,
    ) -> None:
        """`shapes`: (height, width) that each photo of the store is cut to. `readers`: processes that read ahead."""
        self._pixels = PixelsOfTasks(store, shapes, augmentation, seed)
        self._tasks: list[Task] = []
        self._loader = make_loader(self._pixels, self._tasks, readers) if ahead else None

    def start(self) -> None:
        """Fork the process that reads ahead now, while this process is small."""
        for _ in self.read([]):
            pass

    def read(self, batches: Batches, epoch: int | None = None) -> Iterator[LoadedBatch]:
        """Read batches in their order, augmented for an epoch; None: not augmented.

        When reading ahead, exhaust the iterator before asking for other batches.
        """
        tasks = [Task(draws, epoch) for draws in batches]
        if self._loader is None:
            return (self._pixels[task] for task in tasks)
        self._tasks[:] = tasks
        return iter(self._loader)

    def close(self) -> None:
        """End the processes that read. They ignore SIGTERM, so an interpreter that ends would wait for them for ever."""
        end_processes(self._loader)


def end_processes(loader: DataLoader[Loaded] | None) -> None:
    """End the processes of a loader, if it has any."""
    # torch offers no public way: it relies on the last reference to go, which a traceback or a circle may hold.
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()


def make_loader(
    loaded: Dataset[Loaded], tasks: list[Task], readers: int, is_pinned: bool = False
) -> DataLoader[Loaded]:
    """Make the loader that reads `tasks` in their order in `readers` processes, a few batches ahead."""
    with warnings.catch_warnings():
        # How many processes there are is chosen by the cores already, or by a person who knows.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        return DataLoader(
            loaded,
            batch_size=None,
            sampler=tasks,
            num_workers=readers,
            prefetch_factor=4,
            persistent_workers=True,
            pin_memory=is_pinned,
            multiprocessing_context="fork",
            worker_init_fn=prepare_worker,
        )


def _to_tensor(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def prepare_worker(_number: int) -> None:
    """Prepare a process that reads ahead: one thread, and no answer to signals.

    Ignore Ctrl-C and SIGTERM, which may reach the whole process group but are for the trainer.

    The trainer saves first, and then ends its worker. A worker whose trainer was killed ends by itself: torch's loader
    looks for its parent every few seconds.
    """
    # What this process inherited is its trainer's: to collect, say, a session with threads that are not here, would never end.
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
