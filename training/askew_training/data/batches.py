"""Which photos each step sees, as a function of the seed and the epoch alone, so that a resumed run sees the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from askew_training.errors import DataError

ASPECTS = (1.0, 0.71)
SIZES = tuple(2 ** (-step / 2) for step in range(6))
"""Batches have one of a few shapes, which is several times faster than a shape for each photo: square, upright or
landscape, at the photo size or at one of these shares of it."""

FEW_SIZES = SIZES[:2]


@dataclass(frozen=True)
class Draw:
    """One photo in a batch, by its index. `view`: 0 the first time that the photo occurs in the batch, then 1, 2, …"""

    photo: int
    view: int


Batches = list[list[Draw]]


class Plan(Protocol):
    """The batches of each epoch."""

    def epoch(self, epoch: int) -> Batches:
        """The batches of one epoch, counted from 0; always the same for one plan."""
        ...


def batch_shape(height: int, width: int, photo_size: int) -> tuple[int, int]:
    """Choose the shape, (height, width), that a photo of `height` × `width` is brought to.

    The nearest of a few longer sides, `photo_size` being the largest, and of a few aspect ratios. Nothing is
    stretched: a photo is resized to cover its shape, by a factor of 0.84 to 1.19, and the rest is cut off.
    """
    shorter, longer = sorted((height, width))
    aspect = min(ASPECTS, key=lambda each: abs(math.log(each * longer / shorter)))
    size = min(SIZES, key=lambda each: abs(math.log(each * photo_size / longer)))
    sides = max(32, round(photo_size * size)), max(32, round(photo_size * size * aspect))
    return sides if height > width else (sides[1], sides[0])


def few_shapes(photo_size: int) -> tuple[tuple[int, int], ...]:
    """The seven shapes, (height, width), of training views on a GPU, which prepares every new shape for seconds.

    Square, upright and landscape, at `photo_size` and at 0.71 of it, and one small square for small photos.
    """
    shapes = []
    for size in FEW_SIZES:
        longer = max(32, round(photo_size * size))
        shorter = max(32, round(photo_size * size * ASPECTS[1]))
        shapes += [(longer, longer), (longer, shorter), (shorter, longer)]
    smallest = max(32, round(photo_size * SIZES[2]))
    return (*shapes, (smallest, smallest))


def nearest_shape(photos: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Choose the one of `shapes` that photos of (height, width) are together nearest to in aspect ratio and in size."""
    sides = np.log(np.asarray(photos, dtype=np.float64))[:, None]
    chosen = np.log(np.asarray(shapes, dtype=np.float64))[None]
    by_aspect = np.abs((sides[..., 0] - sides[..., 1]) - (chosen[..., 0] - chosen[..., 1]))
    by_size = np.abs(sides.max(-1) - chosen.max(-1))
    return shapes[int((by_aspect + by_size).sum(0).argmin())]


class PhotoPlan:
    """Every photo once in an epoch, in random order. Batches have one shape, except for the remainders of the shapes,
    which are mixed."""

    def __init__(
        self, shapes: Sequence[tuple[int, int]], size: int, seed: int, batches_each_epoch: int | None = None
    ) -> None:
        """`shapes`: (height, width) of each photo in its batches. `size`: photos in a batch. `batches_each_epoch`: where
        an epoch is cut off; None for all photos."""
        self._shapes = shapes
        self._size = size
        self._seed = seed
        self._batches = batches_each_epoch

    def epoch(self, epoch: int) -> Batches:
        random = np.random.default_rng((self._seed, epoch))
        by_shape: dict[tuple[int, int], list[Draw]] = {}
        batches: Batches = []
        for photo in random.permutation(len(self._shapes)).tolist():
            waiting = by_shape.setdefault(self._shapes[photo], [])
            waiting.append(Draw(photo, 0))
            if len(waiting) == self._size:
                batches.append(by_shape.pop(self._shapes[photo]))
        left = list(chain.from_iterable(by_shape.values()))
        # The rest in equal parts: otherwise the last batch might be a step for a single photo.
        count = -(-len(left) // self._size)
        batches += [left[number::count] for number in range(count)]
        random.shuffle(batches)
        return batches[: self._batches]


class InstancePlan:
    """Batches of groups of photos of one instance each, and of unlabelled photos, each in several views.

    No labelled photo is drawn again before all others were drawn, and the same holds for unlabelled ones: an instance
    with more photos is drawn more often. When an instance is divided into groups, the last group is completed with
    other photos of it, or with further views of them. An instance of one photo is never drawn.
    """

    def __init__(
        self,
        photos_by_instance: Mapping[str, Sequence[int]],
        unlabelled: Sequence[int],
        *,
        instances: int,
        photos_each: int,
        unlabelled_each_batch: int,
        views: int,
        batches_each_epoch: int,
        seed: int,
    ) -> None:
        """`instances`: groups of `photos_each` photos in a batch.

        Raises DataError if there are fewer groups, or fewer unlabelled photos, than a batch takes.
        """
        self._photos = [tuple(photos) for _, photos in sorted(photos_by_instance.items()) if len(photos) > 1]
        groups = [-(-len(photos) // photos_each) for photos in self._photos]
        self._groups = [instance for instance, count in enumerate(groups) for _ in range(count)]
        self._unlabelled = tuple(unlabelled)
        self._instances, self._photos_each = instances, photos_each
        self._unlabelled_each, self._views = unlabelled_each_batch, views
        self._batches, self._seed = batches_each_epoch, seed
        if len(self._groups) < instances:
            raise DataError(
                f"A batch takes {instances} groups, but the {len(self._photos)} instances with two photos or more make "
                f"{len(self._groups)}. Give more labelled photos, or lower `instances`."
            )
        if len(self._unlabelled) < unlabelled_each_batch:
            raise DataError(
                f"A batch takes {unlabelled_each_batch} unlabelled photos, but there are {len(self._unlabelled)}. "
                "Add folders to `data.photos`, or lower `unlabelled`."
            )

    def epoch(self, epoch: int) -> Batches:
        random = np.random.default_rng((self._seed, epoch))
        groups = _draw_in_turn(len(self._groups), self._instances, self._batches, random)
        unlabelled = _draw_in_turn(len(self._unlabelled), self._unlabelled_each, self._batches, random)
        waiting: dict[int, list[int]] = {}
        batches: Batches = []
        for some_groups, some_photos in zip(groups, unlabelled, strict=True):
            views: Counter[int] = Counter()
            batch: list[Draw] = []
            for group in some_groups:
                for photo in self._next_photos(self._groups[group], waiting, random):
                    batch.append(Draw(photo, views[photo]))
                    views[photo] += 1
            for number in some_photos:
                batch += [Draw(self._unlabelled[number], view) for view in range(self._views)]
            batches.append(batch)
        return batches

    def _next_photos(self, instance: int, waiting: dict[int, list[int]], random: np.random.Generator) -> list[int]:
        """The next photos of an instance, all different if it has enough."""
        left = waiting.setdefault(instance, [])
        while len(left) < self._photos_each:
            fresh = [self._photos[instance][i] for i in random.permutation(len(self._photos[instance]))]
            left += [photo for photo in fresh if photo not in left] + [photo for photo in fresh if photo in left]
        waiting[instance] = left[self._photos_each :]
        return left[: self._photos_each]


def _draw_in_turn(count: int, each: int, times: int, random: np.random.Generator) -> list[list[int]]:
    """`times` lists of `each` different numbers below `count`; no number is drawn again before all others were."""
    waiting: list[int] = []
    lists: list[list[int]] = []
    for _ in range(times):
        if len(waiting) < each:
            fresh = random.permutation(count).tolist()
            first = set(waiting)
            waiting += [number for number in fresh if number not in first]
            waiting += [number for number in fresh if number in first]
        lists.append(waiting[:each])
        waiting = waiting[each:]
    return lists
