"""What ends a run: too many photos that cannot be read, numbers that are no longer finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from askew_training.data.photo_sets import Photo
from askew_training.errors import TrainingError
from askew_training.train.checkpoints import Progress
from askew_training.train.reader import LoadedBatch

MAX_UNREADABLE_SHARE = 0.01
MAX_UNREADABLE = 10
"""A run stops if more photos than this number, and more than this share, could not be read."""

LISTED_PHOTOS = 8
"""How many photos a message names before it gives the number of the rest."""


def count_unreadable(loaded: LoadedBatch, progress: Progress, say: Callable[[str], None]) -> None:
    """Say which photos of a batch could not be read. Raises TrainingError if there are too many in the run."""
    for sentence in loaded.unreadable:
        say(f"skipped: {sentence}")
    progress.unreadable += len(loaded.unreadable)
    if progress.unreadable > max(MAX_UNREADABLE, MAX_UNREADABLE_SHARE * progress.photos):
        raise TrainingError(
            f"{progress.unreadable} photos could not be read, the last: {loaded.unreadable[-1]} Find all of "
            "them with `askew check-photos --thorough`, and continue with --resume."
        )


def not_finite(what: str, loaded: LoadedBatch, photos: Sequence[Photo], progress: Progress) -> TrainingError:
    """The error for a loss or a gradient that is no longer finite; names photos of the batch."""
    names = [photos[index].id for index in loaded.photos.tolist()]
    more = len(names) - LISTED_PHOTOS
    listed = ", ".join(names[:LISTED_PHOTOS]) + (f" and {more} more" if more > 0 else "")
    return TrainingError(
        f"The {what} is no longer finite in step {progress.steps + 1} of epoch {progress.epoch + 1}, "
        f"with {listed}. The last checkpoint before it is kept. Lower the learning rate, or set `clip`."
    )
