"""The margins that an experiment tries: for each share of active negatives, the one that has it before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from askew_training.errors import DataError
from askew_training.losses.base import MarginTable
from askew_training.losses.margins import margin_of
from askew_training.train.recipe import Recipe
from askew_training.train.run import prepare
from askew_training.train.start.margins import own_vectors, similarities_of
from askew_training.train.tuples import VectorsOf
from askew_training.train.validation import instance_numbers


def margins_for(recipe: Recipe, shares: Sequence[float], cache: Path, say: Callable[[str], None]) -> dict[float, float]:
    """The margin for each share of active negatives, with four digits, of a recipe's loss that has one.

    Tuples are mined as in the first epoch, but with the teacher's vectors on both sides: the space that a student moves
    towards. A network that learns without a teacher mines with its own vectors before its first step. A share that no margin
    reaches is left out, and `say` is told so. Raises what `prepare` raises.
    """
    run = prepare(recipe, cache, say)
    vectors: VectorsOf
    if run.targets is not None:
        vectors = run.targets.vectors
    else:
        paths = [photo.path for photo in run.training.photos]
        vectors = own_vectors(run.network, recipe.batches.photo_size, paths, cache)
    found = similarities_of(run.source, instance_numbers(run.training.photos).numpy(), vectors)
    table = next(each for each in recipe.losses if isinstance(each, MarginTable))
    margins: dict[float, float] = {}
    for share in shares:
        try:
            margins[share] = margin_of(table, share, found.to_positives, found.to_negatives, found.is_negative)
        except DataError as error:
            say(f"{recipe.name}: {error} This one is left out.")
    return margins
