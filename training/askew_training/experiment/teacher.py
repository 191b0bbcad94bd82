"""The teacher's vectors of all photos that the experiment's recipes train and validate on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from askew_training.data.landmarks import read_landmarks
from askew_training.data.photo_sets import Photo, training_photos
from askew_training.data.sfm120k import read_sfm120k
from askew_training.errors import DataError
from askew_training.train.recipe_tables import DataTable
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.teacher_vectors import TeacherVectors


def photos_of_tables(tables: Sequence[DataTable]) -> list[Photo]:
    """All photos that some tables [data] name, each once by id. Raises DataError."""
    photos: dict[str, Photo] = {}
    for table in dict.fromkeys(tables):
        chosen: list[Photo] = []
        if table.sfm120k is not None:
            for split in ("train", "val"):
                chosen += read_sfm120k(table.sfm120k.pickle, table.sfm120k.images, split).photos
        if table.landmarks is not None:
            chosen += read_landmarks(table.landmarks.csv, table.landmarks.images, None).photos
        if table.manifest or table.folders or (table.photos and not chosen):
            chosen += training_photos(table.manifest, table.photos, table.folders)
        for photo in chosen:
            photos.setdefault(photo.id, photo)
    return list(photos.values())


def fill_vectors(
    teacher: Path, tables: Sequence[DataTable], folder: Path, dtype: str, say: Callable[[str], None]
) -> None:
    """Describe the photos into a folder, from where an earlier start stopped. Raises DataError, CacheError."""
    job = CacheJob(teacher, photos_of_tables(tables), folder, Dtype(dtype))
    if job.handled < job.total:
        say(f"The teacher describes {job.total - job.handled:,} of {job.total:,} photos into {folder}.")
    made = job.run(lambda: None)
    for item in made.unreadable:
        say(f"The teacher cannot describe {item.id}: {item.reason}")


def check_vectors(folder: Path, space_id: str) -> None:
    """Refuse vectors that are not complete, or not the teacher's. Raises CacheError, DataError."""
    if not folder.is_dir():
        raise DataError(f"Expected a folder of the teacher's vectors, made by `askew cache`, but there is no {folder}.")
    TeacherVectors.open(folder, space_id)
