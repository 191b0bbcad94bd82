"""The photos of a published training set, as commands take them: a list, and the folder of its images."""

from __future__ import annotations

from pathlib import Path

from askew_client.cli.taken import Intake
from askew_training.data.landmarks import read_landmarks
from askew_training.data.photo_sets import Photo
from askew_training.data.sfm120k import read_sfm120k
from askew_training.errors import DataError

CHECKED_PHOTOS = 100


def published_photos(
    sfm120k: Path | None, landmarks: Path | None, images: Path | None, intake: Intake | None = None
) -> list[Photo]:
    """List all photos of retrieval-SfM-120k (train, then val) or of Google Landmarks v2; empty if no list is given.

    `intake`: as for `read_landmarks`. Raises DataError for two lists, for a list or a folder without the other, for another layout, and if the images are
    not in the folder.
    """
    if sfm120k is None and landmarks is None and images is None:
        return []
    if images is None or (sfm120k is None) == (landmarks is None):
        raise DataError("Expected --images, the folder of the images, together with either --sfm120k or --landmarks.")
    photos: list[Photo] = []
    if sfm120k is not None:
        photos += read_sfm120k(sfm120k, images, "train").photos
        photos += read_sfm120k(sfm120k, images, "val").photos
    if landmarks is not None:
        photos += read_landmarks(landmarks, images, None, intake).photos
    _check_folder(photos, images)
    return photos


def _check_folder(photos: list[Photo], images: Path) -> None:
    """Some images may be missing; if none of the first ones is there, it is the wrong folder."""
    first = photos[:CHECKED_PHOTOS]
    if not any(photo.path.is_file() for photo in first):
        raise DataError(
            f"None of the first {len(first)} photos is in {images}, such as {photos[0].path}. Expected the folder "
            "that holds them at such paths: ims of retrieval-SfM-120k, or train of Google Landmarks v2."
        )
