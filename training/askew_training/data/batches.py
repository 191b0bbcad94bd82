"""Which photos each step sees: a function of the seed and the epoch alone, so that a resumed run goes on alike."""

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
"""Batches have one of a few shapes, which is several times faster than as many shapes as photos: square, upright or
lying, at the photo size or at one of these shares of it."""


@dataclass(frozen=True)
class Draw:
    """One photo in a batch, by its index, and which of its views in that batch this is (0 for the first)."""

    photo: int
    view: int


Batches = list[list[Draw]]


class Plan(Protocol):
    """The batches of each epoch."""

    def epoch(self, epoch: int) -> Batches:
        """The batches of one epoch, 0 being the first; always the same for one plan."""
        ...


def batch_shape(height: int, width: int, photo_size: int) -> tuple[int, int]:
    """The shape, (height, width), that a photo of `height` × `width` is brought to.

    The nearest of a few longer sides, `photo_size` being the largest, and of a few aspect ratios. Nothing is
    stretched: a photo is resized to cover its shape, by a factor of 0.84 to 1.19 beside what is cut off.
    """
    shorter, longer = sorted((height, width))
    aspect = min(ASPECTS, key=lambda each: abs(math.log(each * longer / shorter)))
    size = min(SIZES, key=lambda each: abs(math.log(each * photo_size / longer)))
    sides = max(32, round(photo_size * size)), max(32, round(photo_size * size * aspect))
    return sides if height > width else (sides[1], sides[0])


class PhotoPlan:
    """Every photo once in an epoch, in batches of one shape but for what is left of the shapes; in random order."""

    def __init__(
        self, shapes: Sequence[tuple[int, int]], size: int, seed: int, batches_each_epoch: int | None = None
    ) -> None:
        """`shapes`: (height, width) of each photo as batched; `size`: photos in a batch. `batches_each_epoch`: an epoch
        ends after so many, where it has more."""
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
        # In equal parts: a last batch of one photo would be a step for it alone.
        count = -(-len(left) // self._size)
        batches += [left[number::count] for number in range(count)]
        random.shuffle(batches)
        return batches[: self._batches]


class InstancePlan:
    """Batches of groups of photos of one instance each, and of unlabelled photos, each in some views.

    Every labelled photo comes again only when all others have come, and so does an unlabelled one: an instance with
    many photos is drawn as much more often as it has more. What is left of an instance when it is divided into groups
    is filled up by other photos of it, or by further views of them; an instance of one photo is never drawn.
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

        Raises DataError when there are fewer groups, or unlabelled photos, than a batch takes.
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
                f"A batch takes {instances} groups, and {len(self._photos)} instances with two photos or more make "
                f"{len(self._groups)}. Give more labelled photos, or ask for fewer `instances`."
            )
        if len(self._unlabelled) < unlabelled_each_batch:
            raise DataError(
                f"A batch takes {unlabelled_each_batch} unlabelled photos, and there are {len(self._unlabelled)}. "
                "Add folders to `data.photos`, or ask for fewer."
            )

    def epoch(self, epoch: int) -> Batches:
        random = np.random.default_rng((self._seed, epoch))
        groups = _in_turn(len(self._groups), self._instances, self._batches, random)
        unlabelled = _in_turn(len(self._unlabelled), self._unlabelled_each, self._batches, random)
        waiting: dict[int, list[int]] = {}
        batches: Batches = []
        for some_groups, some_photos in zip(groups, unlabelled, strict=True):
            seen: Counter[int] = Counter()
            batch: list[Draw] = []
            for group in some_groups:
                photos = self._next_photos(self._groups[group], waiting, random)
                for photo in photos:
                    batch.append(Draw(photo, seen[photo]))
                    seen[photo] += 1
            for number in some_photos:
                batch += [Draw(self._unlabelled[number], view) for view in range(self._views)]
            batches.append(batch)
        return batches

    def _next_photos(self, instance: int, waiting: dict[int, list[int]], random: np.random.Generator) -> list[int]:
        """The next photos of an instance, different ones as far as it has them."""
        left = waiting.setdefault(instance, [])
        while len(left) < self._photos_each:
            fresh = [self._photos[instance][i] for i in random.permutation(len(self._photos[instance]))]
            left += [photo for photo in fresh if photo not in left] + [photo for photo in fresh if photo in left]
        waiting[instance] = left[self._photos_each :]
        return left[: self._photos_each]


def _in_turn(count: int, each: int, times: int, random: np.random.Generator) -> list[list[int]]:
    """`times` lists of `each` different numbers below `count`; none comes again before all others have come."""
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
