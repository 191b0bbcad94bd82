"""`askew train`: run a recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (.toml).")],
    output: Annotated[Path, typer.Argument(help="The folder for checkpoints and logs; made if need be.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a stopped run in this folder left off.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where vectors are kept; ~/.cache/askew.")] = None,
) -> None:
    """Train a network by a recipe: a teacher by labels, or a student on its teacher's vectors."""
    # oneDNN keeps 1,024 compiled kernels unless told otherwise: too few for a network in a dozen shapes. Read once.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
    import torch

    from askew_training.errors import TrainingError
    from askew_training.train.checkpoints import BEST, LAST, save_recipe
    from askew_training.train.loop import Interrupted, Trainer
    from askew_training.train.recipe import read_recipe
    from askew_training.train.run import prepare

    console = Console(stderr=True)
    chosen = read_recipe(recipe)
    if threads is not None:
        torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    if not resume and (output / LAST).exists():
        raise TrainingError(f"{output} holds a run already. Go on with it by --resume, or name another folder.")
    kept = cache or Path.home() / ".cache" / "askew" / "descriptors"
    run = prepare(chosen, kept, lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True))
    save_recipe(output, chosen.model_dump_json(indent=2))
    try:
        progress = Trainer(run, output, resume).train()
    except Interrupted:
        console.print(f"Stopped and saved in {output / LAST}. Go on with --resume.", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    best = "" if progress.best is None else f"; best mAP {progress.best:.3f} in {output / BEST}"
    Console().print(
        f"{output / LAST}: {progress.steps} steps, {progress.photos} photos{best}", highlight=False, soft_wrap=True
    )
