"""The photos that a recipe names, and which of them show the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from askew_training.data.findings import check_photos
from askew_training.data.landmarks import read_landmarks
from askew_training.data.pairs import PairedPhotos, pairs_within_instances
from askew_training.data.photo_sets import Photo, photos_in, training_photos
from askew_training.data.sfm120k import read_sfm120k
from askew_training.train.photos import split
from askew_training.train.recipe import Recipe


@dataclass(frozen=True)
class RunPhotos:
    """Photos to train on, of held-out instances, and unlabelled ones in the gallery of the validation.

    `pairs`: which of those to train on show the same, by index; None where the run draws no tuples by labels.
    """

    training: list[Photo]
    held_out: list[Photo]
    distractors: list[Photo]
    pairs: PairedPhotos | None


def photos_of(recipe: Recipe, say: Callable[[str], None]) -> RunPhotos:
    """Read what a recipe names, and check it. Raises DataError."""
    data = recipe.data
    tuples = recipe.mining is not None and recipe.mining.choose != "teacher-ranked"
    if data.sfm120k is not None:
        listed = read_sfm120k(data.sfm120k.pickle, data.sfm120k.images, "train")
        apart = read_sfm120k(data.sfm120k.pickle, data.sfm120k.images, "val")
        training = _usable([*listed.photos, *_unlabelled(data.photos)], recipe, say)
        held_out = _usable(apart.photos, recipe, say)
        return RunPhotos(training, held_out, [], listed.among(training) if tuples else None)
    landmarks = data.landmarks
    more = read_landmarks(landmarks.csv, landmarks.images, None).photos if landmarks else ()
    named = bool(data.manifest or data.folders or data.photos)
    chosen = [*more, *(training_photos(data.manifest, data.photos, data.folders) if named else [])]
    training, held_out, distractors = split(_usable(chosen, recipe, say), recipe)
    return RunPhotos(training, held_out, distractors, pairs_within_instances(training) if tuples else None)


def _unlabelled(folders: Sequence[Path]) -> list[Photo]:
    return [photo for folder in folders for photo in photos_in(folder)]


def _usable(photos: Sequence[Photo], recipe: Recipe, say: Callable[[str], None]) -> list[Photo]:
    findings = check_photos(photos, labelled=recipe.needs_labels)
    for sentence in (*(f"skipped: {each}" for each in findings.left_out), *findings.warnings):
        say(sentence)
    return list(findings.usable)
