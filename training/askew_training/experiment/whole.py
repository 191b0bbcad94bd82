"""A whole experiment, from the teacher's vectors to the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.cores import usable_cores
from askew_training.errors import DataError
from askew_training.experiment.grid import Grid, grid_of
from askew_training.experiment.plan import read_experiment
from askew_training.experiment.results import measure_all, say_what_is_absent
from askew_training.experiment.runner import Runner
from askew_training.experiment.table import ResultTable, write_table
from askew_training.experiment.teacher import check_vectors, fill_vectors
from askew_training.experiment.workplace import Workplace, claim_folder, held_folder
from askew_training.train.recipe import read_recipe
from askew_training.train.recipe_tables import DataTable
from askew_training.vectors.description import open_encoder

VECTORS = "vectors"


def run_experiment(
    name: str,
    out: Path,
    *,
    data: Sequence[Path],
    teacher: Path | None,
    vectors: Path | None,
    threads: int | None,
    jobs: int,
    again: bool,
    intake: Intake,
    say: Callable[[str], None],
) -> ResultTable:
    """Train what is missing of an experiment, measure what is not measured, and write `table.json` and `table.md`.

    `name`: of a shipped experiment, or a file. `data`: the folders in which relative paths are looked for. `teacher`,
    `vectors`: in place of what the experiment names, and of vectors that are described here. `jobs`: how many
    cells train at the same time; without `threads`, they share the cores. `intake` counts cells.
    Raises DataError, RecipeError, CacheError, WeightsError, and KeyboardInterrupt if it was stopped.
    """
    loaded = read_experiment(name)
    grid = grid_of(loaded)
    encoder = teacher or _existing(loaded.experiment.teacher.encoder, data)
    space_id = open_encoder(encoder).manifest.space_id
    with held_folder(out) as held:
        claim_folder(out, loaded)
        folder = (vectors or out / VECTORS).resolve()
        if folder.name != VECTORS:
            raise DataError(
                f"Expected a folder of vectors that is called {VECTORS}, as the recipes name it, got {folder}."
            )
        if threads is None and jobs > 1:
            threads = max(1, usable_cores() // jobs)
        options = () if threads is None else ("--threads", str(threads))
        place = Workplace(out, tuple(path.resolve() for path in data), encoder, folder, held, options)
        if vectors is None:
            folder.mkdir(exist_ok=True)
            fill_vectors(encoder, _tables(grid, place), folder, loaded.experiment.teacher.dtype, say)
        check_vectors(folder, space_id)
        folders = [*place.data, *dict.fromkeys(path.parent for path in loaded.recipes.values())]
        say_what_is_absent(grid.experiment, place, folders, say)
        records = Runner(grid, place, jobs, again, say).train(intake)
        measured = measure_all(grid.experiment, place, folders, records, intake, say)
        return write_table(grid.experiment, loaded.digest, out, records, measured)


def _tables(grid: Grid, place: Workplace) -> list[DataTable]:
    """The tables [data] of the recipes, with their paths."""
    tables = []
    folder = place.out / "recipes"
    folder.mkdir(exist_ok=True)
    for recipe, path in grid.loaded.recipes.items():
        file = folder / f"{recipe}.toml"
        file.write_text(grid.untuned(recipe, grid.experiment.seeds[0]), encoding="utf-8")
        tables.append(read_recipe(file, [*place.data, place.vectors.parent, path.parent]).data)
    return tables


def _existing(path: Path, folders: Sequence[Path]) -> Path:
    found = next((folder / path for folder in folders if (folder / path).is_file()), None)
    if found is None:
        raise DataError(
            f"The experiment needs its teacher's encoder file, {path}, which is not in {folders[0]}. Name it with --teacher."
        )
    return found
