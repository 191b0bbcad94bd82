"""Google Landmarks v2 (Weyand et al., CVPR 2020): the cleaned training set, or all of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from askew_client.cli.taken import Intake
from askew_training.data.pairs import PairedPhotos, Split, pairs_within_instances
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError

SET_NAME = "gldv2"
CLEAN = ["landmark_id", "images"]
IMAGE = re.compile(r"[0-9A-Za-z_-]{3,}")
VALIDATION_SHARE = 0.2

Line = tuple[int, str, str]
"""The number of a line, a landmark and one of its images."""


def read_landmarks(csv_file: Path, images: Path, split: Split | None, intake: Intake | None = None) -> PairedPhotos:
    """Read `train_clean.csv` (landmark_id,images) or `train.csv` (id,url,landmark_id), in the order of the file.

    `images`: the folder `train`, whose files are at `a/b/c/abc….jpg`; it is not read. A photo's id is the image's, its
    instance the landmark's published number, and any other photo of its landmark is a positive.

    `split`: a random fifth of the photos of each landmark, at least one, is for validation, and the rest for training;
    None takes all. For train_clean.csv both parts are those of DELF's `build_image_dataset.py` (seed 0), which
    asymmetric methods were trained with; that code then shuffles them once more. For train.csv that code splits in the
    order in which the disk lists the files, which cannot be reproduced.

    `intake`: counts images that the folder lacks and broken lines, which are then left out: few have all of this set.
    Without it, all are listed, and the folder is not read. The split does not depend on which images are there.

    Raises DataError for another layout.
    """
    photos: list[Photo] = []
    by_landmark: dict[str, list[int]] = {}
    seen: set[str] = set()
    for number, landmark, image in _lines(csv_file, is_lenient=intake is not None):
        problem = None
        if not landmark.isdecimal() or not IMAGE.fullmatch(image):
            problem = f"{csv_file}, line {number}: expected a landmark and images, got {landmark!r}, {image!r}."
        elif image in seen:
            problem = f"{csv_file}, line {number}: the image {image} was listed before. List each once."
        if problem is not None:
            if intake is None:
                raise DataError(problem)
            intake.skip(f"{csv_file}, line {number}", "lines of the list that are broken or repeat an image", problem)
            continue
        seen.add(image)
        by_landmark.setdefault(landmark, []).append(len(photos))
        photos.append(
            Photo(images / image[0] / image[1] / image[2] / f"{image}.jpg", landmark, "train", "", SET_NAME, image)
        )
    if not photos:
        raise DataError(f"{csv_file} lists no image. Expected train_clean.csv or train.csv.")
    if split is not None:
        held = _validation_photos(by_landmark.values())
        photos = [photo for index, photo in enumerate(photos) if (index in held) == (split == "val")]
    return pairs_within_instances(photos if intake is None else _fetched(photos, images, intake))


def _fetched(photos: list[Photo], images: Path, intake: Intake) -> list[Photo]:
    fetched = [photo for photo in photos if photo.path.is_file()]
    if not fetched:
        raise DataError(
            f"None of the {len(photos):,} images of the list is in {images}, such as {photos[0].path}. Expected the folder "
            "`train` of Google Landmarks v2."
        )
    here = {photo.id for photo in fetched}
    for photo in photos:
        if photo.id not in here:
            intake.leave_out(photo.id, f"images of the list that were not fetched to {images}")
    return fetched


def _validation_photos(landmarks: Iterable[list[int]]) -> set[int]:
    """Indices of the validation split. The generator and the order of its draws are those of the published code."""
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(0)))
    held: set[int] = set()
    for photos in landmarks:
        order = np.arange(len(photos))
        random.shuffle(order)
        held.update(photos[each] for each in order[: max(1, int(VALIDATION_SHARE * len(photos)))])
    return held


def _lines(csv_file: Path, is_lenient: bool) -> Iterator[Line]:
    try:
        with csv_file.open(newline="", encoding="utf-8") as stream:
            columns = next(csv.reader([stream.readline()]), [])
            if columns == CLEAN:
                yield from _clean_lines(stream)
            elif "id" in columns and "landmark_id" in columns:
                yield from _single_lines(csv_file, stream, columns, is_lenient)
            else:
                raise DataError(
                    f"{csv_file} starts with {','.join(columns)[:80]!r}. Expected landmark_id,images as in "
                    "train_clean.csv, or id,url,landmark_id as in train.csv."
                )
    except OSError as error:
        raise DataError(f"Expected a list of landmarks, but {csv_file} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{csv_file} is not a CSV file in UTF-8. Expected train_clean.csv or train.csv.") from None


def _clean_lines(stream: TextIO) -> Iterator[Line]:
    """Lines of a landmark and all its images: longer than the csv module accepts, and with nothing to unquote."""
    for number, line in enumerate(stream, start=2):
        landmark, _, images = line.strip().partition(",")
        for image in images.split(" "):
            yield number, landmark, image


def _single_lines(csv_file: Path, stream: TextIO, columns: list[str], is_lenient: bool) -> Iterator[Line]:
    image, landmark = columns.index("id"), columns.index("landmark_id")
    for number, row in enumerate(csv.reader(stream), start=2):
        if len(row) == len(columns):
            yield number, row[landmark], row[image]
        elif not is_lenient:
            raise DataError(f"{csv_file}, line {number}: expected {len(columns)} values, {', '.join(columns)}.")
        else:
            # No landmark: the caller finds the line broken.
            yield number, "", ",".join(row)
