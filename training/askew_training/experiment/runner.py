"""Running an experiment: what is missing is trained, what is finished is kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.errors import AskewError
from askew_client.files import write_atomically
from askew_training.errors import DataError
from askew_training.experiment.cells import RECIPE, Cell, CellFolder, CellRecord
from askew_training.experiment.child import Ended, train_cell
from askew_training.experiment.grid import Grid, choose
from askew_training.experiment.margins import margins_for
from askew_training.experiment.provenance import version_of_code
from askew_training.experiment.workplace import Workplace
from askew_training.networks.checkpoint import Checkpoint, save_checkpoint
from askew_training.train.recipe import Recipe, read_recipe
from askew_training.train.run import prepare
from askew_training.train.run_log import LINES


class Runner:
    """Trains the cells of one experiment in its folder, one after the other."""

    def __init__(self, grid: Grid, place: Workplace, again: bool, say: Callable[[str], None]) -> None:
        """`again`: whether cells that failed, or whose recipe has changed, are trained again."""
        self._grid, self._place, self._again, self._say = grid, place, again, say
        self._code = version_of_code()
        self._trained: list[float] = []

    def train(self, intake: Intake) -> list[CellRecord]:
        """Train all that is missing, and return the records of all cells. A failed cell is counted in `intake`."""
        margins: dict[str, dict[float, float]] = {}
        for recipe in self._grid.with_margin():
            try:
                margins[recipe] = self._margins(recipe)
            except AskewError as error:
                # Its own trainings will fail alike, and say so.
                self._say(f"{recipe}: its margins cannot be computed, so it keeps its own. {error}")
        tuning = self._grid.tuning(margins)
        final_count = len(self._grid.bases) * len(self._grid.experiment.seeds)
        self._say(self._size_of(tuning, final_count))
        start = self._grid.start()
        records = self._train_all([*([start] if start else []), *tuning], final_count)
        chosen: dict[str, dict[str, float]] = {}
        for recipe in self._grid.bases:
            settings = choose(recipe, records) if tuning else {}
            if settings is None:
                self._say(f"{recipe}: all of its tuning failed, so it is not trained.")
                continue
            chosen[recipe] = settings
            if settings:
                self._say(f"{recipe}: tuning chose {_in_words(settings)}.")
        records += self._train_all(self._grid.final(chosen), 0)
        for record in records:
            if record.state == "failed":
                intake.skip(record.name, "cells that failed", record.reason)
            else:
                intake.taken += 1
        return records

    def _size_of(self, tuning: Sequence[Cell], final_count: int) -> str:
        experiment = self._grid.experiment
        shares = experiment.tuning.active_negatives if experiment.tuning else ()
        by_recipe = {recipe: sum(cell.recipe == recipe for cell in tuning) for recipe in self._grid.bases}
        sizes = sorted(set(by_recipe.values()))
        each = " or ".join(map(str, sizes))
        length = f" at {100 * experiment.tuning.length:.0f} % of the steps" if experiment.tuning else ""
        return (
            f"{len(self._grid.bases)} recipes. Tuning: {len(tuning)} cells{length}, {each} for each recipe"
            f"{f' (with {len(shares)} margins where the loss has one)' if shares else ''}. Then {final_count} cells of full length, "
            f"{len(experiment.seeds)} seeds for each recipe."
        )

    def _train_all(self, cells: Sequence[Cell], later: int) -> list[CellRecord]:
        """`later`: how many full cells come after these, for the estimate."""
        folders = [CellFolder(self._place.out, cell) for cell in cells]
        self._refuse_changed(folders)
        records = []
        for number, folder in enumerate(folders, start=1):
            known = folder.record()
            if known is not None and known.state == "failed" and self._again:
                shutil.rmtree(folder.path)
                known = None
            if known is None:
                self._say(f"[{number}/{len(folders)}] {folder.cell.name}")
                started = time.monotonic()
                known = self._train(folder)
                if folder.cell.stage != "start":
                    self._trained.append(time.monotonic() - started)
                missing = len(folders) - number
                self._say(_outcome(known) + _remaining(self._trained, missing, later))
            records.append(known)
        return records

    def _refuse_changed(self, folders: Sequence[CellFolder]) -> None:
        for folder in folders:
            if not folder.is_of_another_recipe():
                continue
            if not self._again:
                raise DataError(
                    f"{folder.path} was trained by another recipe than the experiment's {folder.cell.recipe} now is; compare "
                    f"{folder.path / RECIPE} with it. Give --again to train such cells anew, or choose another folder."
                )
            self._say(f"{folder.cell.name}: its recipe has changed; it is trained again.")
            shutil.rmtree(folder.path)

    def _train(self, folder: CellFolder) -> CellRecord:
        folder.begin()
        if folder.cell.stage == "start":
            ended = self._make_start(folder)
        else:
            ended = train_cell(folder, self._options(), self._place)
        record = self._record(folder, ended)
        folder.finish(record)
        return record

    def _make_start(self, folder: CellFolder) -> Ended:
        """The network before its first step, as the checkpoint of a run."""
        started = time.monotonic()
        folder.run.mkdir(exist_ok=True)
        try:
            run = prepare(self._read(folder.path / RECIPE), self._place.cache, self._say, text=folder.cell.text)
            save_checkpoint(folder.checkpoint, Checkpoint(run.network.eval(), run.description))
        except AskewError as error:
            return Ended(str(error), time.monotonic() - started, ())
        return Ended("", time.monotonic() - started, ())

    def _record(self, folder: CellFolder, ended: Ended) -> CellRecord:
        cell = folder.cell
        last = None if ended.reason else _last_validation(folder.run)
        return CellRecord(
            name=cell.name,
            stage=cell.stage,
            recipe=cell.recipe,
            recipe_sha256=cell.digest,
            seed=cell.seed,
            settings=dict(cell.settings),
            state="failed" if ended.reason else "done",
            reason=ended.reason,
            score=last and float(last["mAP"]),
            symmetric=last and float(last["symmetric_mAP"]),
            steps=int(last["step"]) if last else 0,
            seconds=round(ended.seconds, 1),
            code=self._code,
            command=ended.command,
        )

    def _margins(self, recipe: str) -> dict[float, float]:
        """The margin for each share of active negatives, computed once."""
        tuning = self._grid.experiment.tuning
        assert tuning is not None
        folder = self._place.out / "margins"
        folder.mkdir(exist_ok=True)
        path, source = folder / f"{recipe}.json", folder / f"{recipe}.toml"
        text = self._grid.untuned(recipe, self._grid.experiment.seeds[0])
        made_by = {"recipe": text, "shares": list(tuning.active_negatives)}
        try:
            stored = json.loads(path.read_bytes())
            if stored["made_by"] == made_by:
                return {float(share): float(margin) for share, margin in stored["margins"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        write_atomically(source, text.encode())
        found = margins_for(self._read(source), tuning.active_negatives, self._place.cache, self._say)
        write_atomically(path, json.dumps({"made_by": made_by, "margins": list(found.items())}, indent=1).encode())
        listed = ", ".join(f"{margin:g} for {100 * share:.0f} %" for share, margin in found.items()) or "its own alone"
        self._say(f"{recipe}: margins by the share of active negatives before the first step: {listed}.")
        return found

    def _read(self, path: Path) -> Recipe:
        return read_recipe(path, self._folders())

    def _folders(self) -> list[Path]:
        return [
            *self._place.data,
            self._place.vectors.parent,
            *sorted({p.parent for p in self._grid.loaded.recipes.values()}),
        ]

    def _options(self) -> list[str]:
        named = [part for folder in self._folders() for part in ("--data", str(folder))]
        return [*named, "--cache", str(self._place.cache), *self._place.options]


def _last_validation(run: Path) -> dict[str, float] | None:
    """The last line of kind `validation` in a run's log."""
    try:
        lines = [json.loads(line) for line in (run / LINES).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return None
    found = [line for line in lines if line["kind"] == "validation"]
    return found[-1] if found else None


def _outcome(record: CellRecord) -> str:
    if record.state == "failed":
        return f"    failed: {record.reason}"
    score = "" if record.score is None else f"held-out mAP {record.score:.3f} (symmetric {record.symmetric:.3f}), "
    return f"    {score}{record.seconds / 60:.1f} minutes"


def _remaining(trained: Sequence[float], missing: int, later: int) -> str:
    """In words, how long the rest takes if each cell takes as long as those so far; later cells are twice as long."""
    if not missing + later or not trained:
        return ""
    hours = sum(trained) / len(trained) * (missing + 2 * later) / 3600
    return f"; about {hours:.1f} h left for {missing + later} cells"


def _in_words(settings: dict[str, float]) -> str:
    words = f"{settings['rate']:.3g} × the recipe's learning rate"
    if "margin" in settings:
        words += f" and a margin of {settings['margin']:g} ({100 * settings['active_negatives']:.0f} % of the negatives active)"
    return words
