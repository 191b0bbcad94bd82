"""The progress of a run, and the checkpoints that it leaves and can be resumed from."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from askew_client.files import write_atomically
from askew_training.errors import CheckpointError, TrainingError
from askew_training.networks.checkpoint import Checkpoint
from askew_training.networks.torch_file import DAMAGED
from askew_training.train.precision import Precision
from askew_training.train.recipe import Recipe
from askew_training.train.tuples import Tuples

STORED_TUPLES = ("queries", "positives", "negatives")

LAST = "last.pt"
BEST = "best.pt"


@dataclass
class Progress:
    """How far a run is: the next batch, in which epoch, and the steps, photos and unreadable photos so far.

    `best`: the best validation score so far; None before the first. `seconds`: spent in its epochs so far.
    """

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    photos: int = 0
    unreadable: int = 0
    best: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class RunState:
    """The state of a stopped run: the network's tensors, its progress, its optimiser, and the tuples of its epoch.

    `average`: the moving average of those tensors, None without one. `precision`: what it was computed in; None if the
    checkpoint does not state it, as those of 0.1.
    """

    tensors: dict[str, torch.Tensor]
    progress: Progress
    optimiser: dict[str, Any]
    tuples: Tuples | None
    average: dict[str, torch.Tensor] | None
    precision: Precision | None


def save_last(
    folder: Path,
    checkpoint: Checkpoint,
    progress: Progress,
    optimiser: dict[str, Any],
    recipe: str,
    tuples: Tuples | None,
    learning: dict[str, torch.Tensor] | None,
    precision: Precision,
) -> None:
    """Write the checkpoint that a run is resumed from.

    `learning`: the tensors that are trained, if those of the checkpoint are their moving average; None otherwise.
    `tuples`: those of an unfinished epoch. They are stored because the network that chose them no longer exists.
    """
    training = {
        "progress": asdict(progress),
        "optimiser": optimiser,
        "recipe": recipe,
        "learning": learning,
        "tuples": tuples and {name: torch.from_numpy(getattr(tuples, name)) for name in STORED_TUPLES},
    }
    _write(folder / LAST, {**checkpoint.content(), "precision": precision, "training": training})


def save_best(folder: Path, checkpoint: Checkpoint, precision: Precision) -> None:
    """Write the checkpoint with the best score so far."""
    _write(folder / BEST, {**checkpoint.content(), "precision": precision})


def save_recipe(folder: Path, recipe: str) -> None:
    """Write the recipe with all defaults as `recipe.json`."""
    _write_bytes(folder / "recipe.json", recipe.encode())


def read_last(folder: Path, recipe: str) -> RunState:
    """Read the state of a stopped run.

    Raises CheckpointError if there is no run to resume, or if it was made by another recipe.
    """
    path = folder / LAST
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        training = content["training"]
        progress = Progress(**training["progress"])
        stored = training.get("tuples")
        tuples = Tuples(*(stored[name].numpy() for name in STORED_TUPLES)) if stored else None
        tensors, optimiser, made_by = content["tensors"], training["optimiser"], training["recipe"]
        learning = training.get("learning")
        precision = content.get("precision")
    except OSError as error:
        raise CheckpointError(f"There is no run to resume: {path} cannot be read ({error.strerror}).") from None
    except DAMAGED:
        raise CheckpointError(
            f"{path} is damaged, or not the checkpoint of a run. Start again without --resume, in another folder."
        ) from None
    if not _are_same_recipe(made_by, recipe):
        raise CheckpointError(
            f"{path} was made by another recipe. Expected the recipe that the run began with, which is in recipe.json "
            "in the same folder. Resume with that one, or start again in another folder."
        )
    average = None if learning is None else tensors
    return RunState(tensors if learning is None else learning, progress, optimiser, tuples, average, precision)


def _are_same_recipe(one: str, other: str) -> bool:
    """Whether two recipes as JSON state the same; a key that only the later version of Askew knows has its default."""
    return one == other or _completed(one) == _completed(other)


def _completed(recipe: str) -> object:
    """A recipe as JSON with all that this version knows, but for keys that are not set."""

    def stated(value: object) -> object:
        if isinstance(value, dict):
            return {key: stated(each) for key, each in value.items() if each is not None}
        return [stated(each) for each in value] if isinstance(value, list) else value

    try:
        return stated(Recipe.model_validate_json(recipe).model_dump(mode="json"))
    except ValidationError:
        # Of another version, which knows other keys.
        return stated(json.loads(recipe))


def _write(path: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write_bytes(path, buffer.getvalue())


def _write_bytes(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror}. Its previous version is intact. Make room, and continue with "
            "--resume."
        ) from None
