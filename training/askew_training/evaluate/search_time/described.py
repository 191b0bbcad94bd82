"""A benchmark whose photos were described, and one that is made from training photos, for choosing settings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askew_training.data.photo_sets import Photo, hold_out
from askew_training.errors import DataError
from askew_training.evaluate.benchmark import View, view_of
from askew_training.evaluate.measurement import Side
from askew_training.evaluate.search_time.method import NOT_THERE, Rows, Vectors

HELD_OUT = "held-out"
"""The name of the benchmark that is made from training photos."""


@dataclass(frozen=True)
class DescribedBenchmark:
    """Queries and a gallery with their vectors.

    `queries` and `gallery`: the photos that were described, with float32 [n, D] and [m, D] unit vectors. `unseen`: queries,
    and `lost`: gallery photos, that cannot be described. `others`: float32 [k, D], vectors by the gallery's encoder of photos
    outside the benchmark.
    """

    name: str
    queries: tuple[Photo, ...]
    gallery: tuple[Photo, ...]
    query_vectors: Vectors
    gallery_vectors: Vectors
    others: Vectors
    query_side: Side
    gallery_side: Side
    unseen: tuple[Photo, ...] = ()
    lost: tuple[Photo, ...] = ()

    @property
    def own(self) -> Rows:
        """The rows of each query's own photo in the gallery, which may list it several times, or `NOT_THERE`: int64 [n, k]."""
        rows_of: dict[Path, list[int]] = defaultdict(list)
        for row, photo in enumerate(self.gallery):
            rows_of[photo.path].append(row)
        own = [rows_of.get(photo.path, []) for photo in self.queries]
        most = max(1, *map(len, own))
        return np.array([rows + [NOT_THERE] * (most - len(rows)) for rows in own], np.int64)


def join(
    name: str,
    queries: Sequence[Photo],
    gallery: Sequence[Photo],
    vectors: tuple[Mapping[View, Vectors], Mapping[View, Vectors]],
    sides: tuple[Side, Side],
    others: Vectors,
) -> DescribedBenchmark:
    """Put photos and their vectors together. `vectors` and `sides`: of the queries' encoder, and of the gallery's.

    Raises DataError if no query, or no gallery photo, was described.
    """
    by_query, by_gallery = vectors
    for role, photos, known in (("query", queries, by_query), ("gallery photo", gallery, by_gallery)):
        if not any(view_of(photo) in known for photo in photos):
            raise DataError(f"No {role} of benchmark {name!r} can be read. Expected at least one.")
    seen = tuple(photo for photo in queries if view_of(photo) in by_query)
    kept = tuple(photo for photo in gallery if photo.path in by_gallery)
    return DescribedBenchmark(
        name,
        seen,
        kept,
        np.stack([by_query[view_of(photo)] for photo in seen]),
        np.stack([by_gallery[photo.path] for photo in kept]),
        others,
        *sides,
        unseen=tuple(photo for photo in queries if view_of(photo) not in by_query),
        lost=tuple(photo for photo in gallery if photo.path not in by_gallery),
    )


def held_out_benchmark(
    photos: Sequence[Photo], share: float, seed: int
) -> tuple[list[Photo], list[Photo], list[Photo]]:
    """Make queries, a gallery and other photos from photos of role `train`.

    About `share` of the instances are held out, as training holds them out with this seed. The first photo of each held
    instance that has several is a query, the held photos otherwise are the gallery, and those of the other
    instances are outside. Raises DataError if there is no such instance.
    """
    kept, held = hold_out([photo for photo in photos if photo.role == "train"], share, seed)
    photos_of = Counter(photo.instance_id for photo in held)
    queries: dict[str, Photo] = {}
    gallery: list[Photo] = []
    for photo in held:
        if photos_of[photo.instance_id] > 1 and photo.instance_id not in queries:
            queries[photo.instance_id] = photo
        else:
            gallery.append(photo)
    if not queries:
        raise DataError(
            f"The manifest has {len(kept) + len(held)} photos of role train, and no instance with two of them is held "
            f"out at a share of {share:g}. Expected labelled photos of role train, or a larger share."
        )
    return list(queries.values()), gallery, kept
