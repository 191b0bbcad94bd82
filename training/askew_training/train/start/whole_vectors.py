"""The teacher's vectors of whole photos, as a gallery has them: from a folder, or described when the run starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState

from askew_training.data.photo_sets import Photo
from askew_training.errors import RecipeError
from askew_training.export.encoder_file import EncoderCard, write_encoder
from askew_training.train.matching.teachers import EncoderTeacher, NetworkTeacher, ViewTeacher, open_teacher
from askew_training.train.photos import RunPhotos
from askew_training.train.recipe_tables import TeacherTable
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.description import open_encoder
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.teacher_vectors import TeacherVectors


def network_of_teacher(table: TeacherTable) -> ViewTeacher | None:
    """The network that a recipe names; None if it names vectors alone. Raises CheckpointError, WeightsError."""
    if table.encoder is not None:
        return open_teacher(table.encoder, view_size=table.photo_size)
    return None if table.checkpoint is None else open_teacher(table.checkpoint, whole_size=table.photo_size)


def whole_vectors(
    table: TeacherTable, teacher: ViewTeacher | None, photos: RunPhotos, cache: Path, say: Callable[[str], None]
) -> tuple[RunPhotos, TeacherVectors]:
    """Open the folder that a recipe names, or let its teacher describe the photos of a run into a folder below `cache`.

    An interrupted start continues where it stopped. Returns the photos that the teacher could describe, too. Raises
    CacheError, and RecipeError for vectors of another space than the teacher's.
    """
    if table.vectors is not None:
        vectors = TeacherVectors.open(table.vectors)
        if teacher is not None and vectors.space_id != teacher.space_id:
            raise RecipeError(
                f"{table.vectors} holds vectors in space {vectors.space_id}, but {table.file} is the teacher of "
                f"{teacher.space_id}. Name vectors and encoder of one teacher, or leave `vectors` out."
            )
        return photos, vectors
    assert teacher is not None and table.file is not None
    everything = [*photos.training, *photos.held_out, *photos.distractors]
    with PartialState().main_process_first():
        encoder = table.file if isinstance(teacher, EncoderTeacher) else _exported(teacher, cache, say)
        folder = cache / "teacher-vectors" / _name(open_encoder(encoder).file.sha256, everything)
        job = CacheJob(encoder, everything, folder, Dtype.f16)
        if job.handled < job.total:
            say(f"The teacher describes {job.total - job.handled:,} of {job.total:,} photos into {folder}.")
        # Also finishes a job that was stopped behind its last photo.
        for item in job.run(lambda: None).unreadable:
            say(f"skipped: {item.reason}")
        vectors = TeacherVectors.open(folder, teacher.space_id)
    return _described(photos, vectors), vectors


def _described(photos: RunPhotos, vectors: TeacherVectors) -> RunPhotos:
    """The photos that the teacher could describe."""
    training, held_out, distractors = (
        [photo for photo in each if photo.id in vectors]
        for each in (photos.training, photos.held_out, photos.distractors)
    )
    pairs = photos.pairs
    if pairs is not None and len(training) < len(photos.training):
        pairs = pairs.among(training)
    return RunPhotos(training, held_out, distractors, pairs, photos.intake)


def _exported(teacher: ViewTeacher, cache: Path, say: Callable[[str], None]) -> Path:
    """The teacher as an encoder file: on a CPU it is several times faster than torch."""
    assert isinstance(teacher, NetworkTeacher)
    checkpoint = teacher.checkpoint
    size = checkpoint.description.photo_size
    file = cache / "teachers" / f"{teacher.sha256[:32]}-{size}.onnx"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        say(f"The teacher is exported to {file}.")
        card = EncoderCard(
            name="teacher",
            version="0",
            # A student teaches, too, and so does what was read back from a file: its space is one that it was given.
            role="student" if checkpoint.description.teacher_space else "teacher",
            photo_size=size,
            scales=checkpoint.network.scales,
            precision="fp32",
            licence="for this machine only",
            metrics={},
        )
        write_encoder(checkpoint, card, file, simplified=False)
    return file


def _name(encoder_sha256: str, photos: Sequence[Photo]) -> str:
    """Names a folder by what is described in it: another teacher, size or list of photos has another folder."""
    digest = hashlib.sha256(f"{encoder_sha256}\n".encode())
    for photo in photos:
        size = photo.path.stat().st_size if photo.path.is_file() else -1
        digest.update(f"{photo.id}\0{size}\n".encode())
    return digest.hexdigest()[:32]
