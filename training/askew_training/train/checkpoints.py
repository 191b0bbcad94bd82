"""How far a run has come, and the checkpoints that let it go on."""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from askew_client.files import write_atomically
from askew_training.errors import CheckpointError, TrainingError
from askew_training.networks.checkpoint import Checkpoint
from askew_training.train.tuples import Tuples

STORED_TUPLES = ("queries", "positives", "negatives")

LAST = "last.pt"
BEST = "best.pt"


@dataclass
class Progress:
    """Where a run stands: the next batch of which epoch, steps of the optimiser so far, the best score."""

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    photos: int = 0
    unreadable: int = 0
    best: float | None = None


@dataclass(frozen=True)
class RunState:
    """What a stopped run left: the network's tensors, how far it came, its optimiser, and the tuples of its epoch."""

    tensors: dict[str, torch.Tensor]
    progress: Progress
    optimiser: dict[str, Any]
    tuples: Tuples | None


def save_last(
    folder: Path,
    checkpoint: Checkpoint,
    progress: Progress,
    optimiser: dict[str, Any],
    recipe: str,
    tuples: Tuples | None,
) -> None:
    """Write the checkpoint that a run goes on from: the network, its optimiser, and how far it has come.

    `tuples`: those of an epoch that is not over, since the network that chose them is gone.
    """
    content = _content(checkpoint)
    content["training"] = {
        "progress": asdict(progress),
        "optimiser": optimiser,
        "recipe": recipe,
        "tuples": tuples and {name: torch.from_numpy(getattr(tuples, name)) for name in STORED_TUPLES},
    }
    _write(folder / LAST, content)


def save_best(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint with the best score so far."""
    _write(folder / BEST, _content(checkpoint))


def save_recipe(folder: Path, recipe: str) -> None:
    """Write the recipe with every default as `recipe.json`."""
    _write_whole(folder / "recipe.json", recipe.encode())


def read_last(folder: Path, recipe: str) -> RunState:
    """Read what a stopped run left.

    Raises CheckpointError when there is nothing to go on from, or when it was made by another recipe.
    """
    path = folder / LAST
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        training = content["training"]
        progress = Progress(**training["progress"])
        stored = training.get("tuples")
        tuples = Tuples(*(stored[name].numpy() for name in STORED_TUPLES)) if stored else None
        tensors, optimiser, made_by = content["tensors"], training["optimiser"], training["recipe"]
    except OSError as error:
        raise CheckpointError(f"There is no run to resume: {path} cannot be read ({error.strerror}).") from None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
    ):
        raise CheckpointError(f"{path} is damaged, or no checkpoint of a run. Start anew without --resume.") from None
    if made_by != recipe:
        raise CheckpointError(
            f"{path} was made by another recipe. Expected the one that the run began with: it lies beside it as "
            "recipe.json. Go on with that one, or start anew in another folder."
        )
    return RunState(tensors, progress, optimiser, tuples)


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    """As `save_checkpoint` writes it: either file can be exported like any other checkpoint."""
    return {
        "description": checkpoint.description.model_dump_json(),
        "tensors": checkpoint.network.state_dict(),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write_whole(path, buffer.getvalue())


def _write_whole(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror}. What was there before is whole; make room, and go on "
            "with --resume."
        ) from None
