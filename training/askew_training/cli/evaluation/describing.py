"""Describing the photos of an evaluation, and counting those that cannot be: what its commands share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import typer

from askew_client.cli.taken import Intake
from askew_training.cli.terminal import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_client import Encoder
    from askew_training.data.photo_sets import Photo
    from askew_training.evaluate.benchmark import View
    from askew_training.evaluate.measurement import Measurement
    from askew_training.vectors.descriptor_cache import DescriptorCache, Descriptors
    from askew_training.vectors.vector_blocks import VectorBlocks

Described = TypeVar("Described")

MISSING = "photos that are not there"
UNREADABLE = "photos that cannot be described"


@dataclass
class LeftOut:
    """Photos that an evaluation leaves out, by reason: names for its measurement, and counted in its intake."""

    intake: Intake
    by_reason: dict[str, list[str]] = field(default_factory=dict)

    def add(self, role: str, name: str, reason: str, sentence: str = "") -> None:
        """Leave one out. `role`: such as `queries`. `reason`: `photos that …`."""
        self.by_reason.setdefault(f"{role}: {reason}", []).append(name)
        self.intake.skip(name, f"{role}: {reason}", sentence)


@dataclass(frozen=True)
class Wanted(Generic[Described]):
    """What is to be described: `names` in the order of the rows, each with its file or box, and the file of each."""

    role: str
    names: Sequence[str]
    views: Sequence[Described]
    files: Sequence[Path]


def describe_rows(
    wanted: Wanted[Described],
    dim: int,
    describe: Callable[[Sequence[Described], Callable[[], None]], Descriptors[Described]],
    left_out: LeftOut,
) -> NDArray[np.float32]:
    """Describe photos into rows: float32 [n, D], NaN for those without a vector, which are counted in `left_out`.

    Raises DataError if no photo can be described.
    """
    import numpy as np

    from askew_training.errors import DataError

    there = [view for view, file in zip(wanted.views, wanted.files, strict=True) if file.is_file()]
    with progress(f"describing {wanted.role}", len(there)) as advance:
        described = describe(there, advance)
    rows = np.full((len(wanted.names), dim), np.nan, dtype=np.float32)
    for row, (name, view, file) in enumerate(zip(wanted.names, wanted.views, wanted.files, strict=True)):
        vector = described.vectors.get(view)
        if vector is not None and np.isfinite(vector).all():
            rows[row] = vector
            left_out.intake.taken += 1
        elif view in described.unreadable or vector is not None:
            left_out.add(
                wanted.role, name, UNREADABLE, described.unreadable.get(view, f"{file} has a vector with NaN.")
            )
        else:
            left_out.add(wanted.role, name, MISSING, f"{file} is not there.")
    if np.isnan(rows).all():
        why = next(iter(described.unreadable.values()), f"{wanted.files[0]} is not there.")
        raise DataError(f"None of {len(rows):,} photos ({wanted.role}) can be described. The first: {why}")
    return rows


def described_folder(encoder: Encoder, photos: Sequence[Photo], cache: Path, name: str, space_id: str) -> VectorBlocks:
    """Describe very many photos into a folder of the cache; an interrupted evaluation continues there.

    The folder is named after the encoder's file and the photos' ids.
    """
    from askew_training.vectors.cache_job import CacheJob
    from askew_training.vectors.manifest import Dtype
    from askew_training.vectors.vector_blocks import open_blocks

    digest = hashlib.sha256("\n".join([encoder.file.sha256, *(photo.id for photo in photos)]).encode()).hexdigest()
    folder = cache / f"{name}-{digest[:32]}"
    job = CacheJob(encoder.path, photos, folder, Dtype.f32)
    with progress(f"describing {name}", job.total, job.handled) as advance:
        job.run(advance)
    return open_blocks(folder, encoder.manifest.dim, space_id, encoder.file.sha256)


def write_and_name(target: Path | None, measurements: Sequence[Measurement]) -> None:
    """Write the measurements, if a file or folder was given, and name their files on standard error."""
    from askew_training.evaluate.measurement_files import write_measurements

    if target is not None:
        for path in write_measurements(target, measurements):
            typer.echo(f"askew: wrote {path}", err=True)


def excluded(left_out: LeftOut) -> Mapping[str, Sequence[str]]:
    """What a measurement records of the photos left out."""
    return {reason: tuple(names) for reason, names in left_out.by_reason.items()}


def describe_views(
    cache: DescriptorCache, views: Sequence[View], advance: Callable[[], None]
) -> tuple[dict[View, NDArray[np.float32]], dict[View, str]]:
    """Describe photos and boxes: unit vectors, float32 [D], by view, and a sentence for each that cannot be described."""
    from askew_training.data.crops import Crop
    from askew_training.export.shrinking import shrink

    whole = cache.describe([view for view in views if isinstance(view, Path)], advance)
    boxes = cache.describe_crops([view for view in views if isinstance(view, Crop)], shrink, advance)
    vectors: dict[View, NDArray[np.float32]] = dict(whole.vectors.items())
    vectors.update((box, vector) for box, vector in boxes.vectors.items())
    unreadable: dict[View, str] = dict(whole.unreadable.items())
    unreadable.update((box, sentence) for box, sentence in boxes.unreadable.items())
    return vectors, unreadable
