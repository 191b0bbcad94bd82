"""`askew experiment`: many recipes tuned alike, trained with several seeds, and collected into one table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_training.cli.terminal import AsJson, finish


@stopped_by_sigterm()
def experiment(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="A shipped experiment, small or paper, or a file.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The experiment's folder; what is finished in it is kept.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="The folder that paths of recipes and data sets are relative to; repeatable; default: this one."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's encoder file (.onnx); default: as the experiment names it.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="The teacher's vectors of all training photos, made by `askew cache`.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many cells train at the same time.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each cell; default: the cores, divided by --jobs.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train cells again that failed, or whose recipe has changed since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run what is missing of an experiment: tune on held-out instances, train with several seeds, measure, and tabulate.

    Stop it with Ctrl-C or SIGTERM, or lose power: the same command continues.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
    from askew_client.cli.taken import Intake
    from askew_training.experiment.whole import run_experiment

    console = Console(stderr=True)

    def say(sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    intake = Intake("cells")
    table = run_experiment(
        name, output, data=data or [Path()], teacher=teacher, vectors=vectors, threads=threads, jobs=jobs,
        again=again, intake=intake, say=say,
    )  # fmt: skip
    if not as_json:
        typer.echo(table.to_markdown())
    finish(intake, "", table.model_dump(mode="json"), as_json)
