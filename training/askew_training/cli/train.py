"""`askew train`: run a recipe."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_training.cli.options import descriptor_folder
from askew_training.cli.terminal import AsJson, finish

if TYPE_CHECKING:
    from askew_client.cli.taken import Intake
    from askew_training.train.checkpoints import Progress


@stopped_by_sigterm()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (.toml).")],
    output: Annotated[Path, typer.Argument(help="The folder for checkpoints and logs; created if missing.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run in this folder.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Look for the recipe's relative paths in this folder, not in the recipe's own; repeatable."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: one for each core.")] = None,
    readers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read photos; default: by the cores and the device.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time 20 steps: profile.txt and trace.json in the folder.")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a network by a recipe: a teacher by labels, or a student on its teacher's vectors."""
    # By default oneDNN caches 1,024 compiled kernels, too few for a network in a dozen shapes. It reads this only once.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
    from askew_training.train.upkeep.heartbeat import Heartbeat, tell_nobody

    console = Console(stderr=True)

    def say(sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    # On a terminal, a bar shows the same.
    with nullcontext(tell_nobody) if console.is_terminal else Heartbeat(say, "loading torch") as doing:
        progress, intake = _train(recipe, output, resume, data or [], threads, readers, profile, cache, say, doing)
    best = "" if progress.best is None else f"; best mAP {progress.best:.3f} in {output / 'best.pt'}"
    if progress.unreadable:
        intake.skip(f"{progress.unreadable} readings", "photos that could not be read while training")
    sentence = f"{output / 'last.pt'}: {progress.steps} steps, {progress.photos} photos{best}"
    finish(intake, sentence, {"steps": progress.steps, "photos": progress.photos, "best_mAP": progress.best}, as_json)


def _train(
    recipe: Path,
    output: Path,
    resume: bool,
    data: list[Path],
    threads: int | None,
    readers: int | None,
    profile: bool,
    cache: Path | None,
    say: Callable[[str], None],
    doing: Callable[[str], None],
) -> tuple[Progress, Intake]:
    import torch

    from askew_training.errors import TrainingError
    from askew_training.train.checkpoints import LAST, save_recipe
    from askew_training.train.loop import Interrupted, Trainer
    from askew_training.train.recipe import read_recipe
    from askew_training.train.run import prepare

    chosen = read_recipe(recipe, data)
    if threads is not None:
        torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    if not resume and (output / LAST).exists():
        raise TrainingError(f"{output} already holds a run. Continue it with --resume, or choose another folder.")
    run = prepare(chosen, descriptor_folder(cache), say, text=recipe.read_text(encoding="utf-8"), doing=doing)
    save_recipe(output, chosen.model_dump_json(indent=2))
    try:
        trainer = Trainer(run, output, resume, readers=readers, doing=doing, is_profiled=profile)
        return trainer.train(), run.intake
    except Interrupted:
        say(f"Stopped and saved in {output / LAST}. Continue with --resume.")
        raise typer.Exit(130) from None
