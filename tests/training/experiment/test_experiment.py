"""`askew experiment` from its file to its table, through stops, failures and changes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_training.cli.experiment import experiment
from askew_training.cli.train import train
from askew_training.errors import DataError
from askew_training.evaluate.measurement import read_measurement
from askew_training.experiment.cells import CellFolder, CellRecord
from askew_training.experiment.grid import grid_of
from askew_training.experiment.plan import read_experiment
from askew_training.experiment.table import ResultTable
from askew_training.experiment.trainings import Trainings, interruption_deferred
from askew_training.experiment.workplace import Workplace, held_folder
from tests.support.training_helpers import run_command
from tests.support.waiting import wait_until
from tests.training.experiment.project import EXPERIMENT, kill, make_experiment, start
from tests.training.train.project import have_equal_tensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLED = "tiny-mined.tuning.rate-1"
FINAL = ["tiny-mined.seed-3", "tiny-mined.seed-4", "tiny-student.seed-3", "tiny-student.seed-4"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    make_experiment(folder)
    return folder


@pytest.fixture(scope="module")
def finished(project: Path) -> Path:
    """The folder of the experiment, which was killed in the middle of a training, and continued to its end."""
    out = project / "out"
    first = start(project, out, "--jobs", 3)
    try:
        lock, checkpoint = out / "lock", out / "cells" / KILLED / "run" / "last.pt"
        wait_until(lambda: lock.exists() and bool(lock.read_bytes()), "the experiment holds its folder")
        with pytest.raises(DataError, match=rf"Another run works in .*out \(process {first.pid}"):
            run_command(experiment, project / "tiny.toml", out, "--data", project)
        wait_until(lambda: checkpoint.exists() or first.poll() is not None, "the training has saved a step")
    finally:
        kill(first)
    # What was killed with it may end a moment later, and holds the folder until then.
    wait_until(lambda: _is_free(out), "the folder is free")
    assert checkpoint.exists() and KILLED not in records(out)
    assert "start" in records(out) and not (out / "table.json").exists()
    result = run_command(experiment, project / "tiny.toml", out, "--data", project, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "Tuning: 4 cells at 50 % of the steps, 2 for each recipe. Then 4 cells of full length" in result.output
    assert "[1/9]" not in result.output
    return out


def _is_free(out: Path) -> bool:
    try:
        with held_folder(out):
            return True
    except DataError:
        return False


@pytest.fixture
def copied(finished: Path, project: Path, tmp_path: Path) -> Path:
    """The project with the finished experiment, of the test's own."""
    shutil.copytree(project, tmp_path / "project")
    return tmp_path / "project"


def run(folder: Path, *options: object, file: str = "tiny.toml") -> tuple[int, str]:
    result = run_command(experiment, folder / file, folder / "out", "--data", folder, "--threads", 1, *options)
    return result.exit_code, " ".join(result.output.split())


def records(out: Path) -> dict[str, CellRecord]:
    found = [CellRecord.model_validate_json(path.read_text()) for path in out.glob("cells/*/record.json")]
    return {each.name: each for each in found}


def test_every_figure_of_the_table_can_be_traced(finished: Path) -> None:
    table = ResultTable.model_validate_json((finished / "table.json").read_text())
    assert [row.method for row in table.rows] == ["teacher", "start", "tiny-mined", "tiny-student"]
    assert {cell.name for cell in table.cells} >= {"start", *FINAL} and len(table.cells) == 9
    for cell in table.cells:
        folder = finished / "cells" / cell.name
        text = (folder / "recipe.toml").read_text()
        assert hashlib.sha256(text.encode()).hexdigest() == cell.recipe_sha256 and cell.code and cell.seconds > 0
        assert cell.stage == "start" or (cell.command[:2] == ("askew", "train") and (folder / "log.txt").read_text())
        if cell.stage != "tuning":
            assert cell.recipe_sha256 in read_encoder_file(folder / "encoder.onnx").manifest.recipe
    for row in table.rows[2:]:
        assert row.settings["rate"] in (1.0, 10.0) and len(row.held_out) == 2
        for figure in row.figures:
            files = finished.glob(f"measurements/{row.method}.seed-*.{figure.testing}/measured/walls.*.json")
            means = [read_measurement(path).mean_average_precision for path in files]
            assert sorted(means) == sorted(figure.by_seed) and figure.mean == pytest.approx(sum(means) / 2)
    text = (finished / "table.md").read_text()
    assert "| `tiny-mined` |" in text and "Contr beats regression" in text


def test_what_is_measured_is_looked_at_once_after_all_training(finished: Path) -> None:
    trained = max(path.stat().st_mtime_ns for path in finished.glob("cells/*/record.json"))
    measured = [path.stat().st_mtime_ns for path in finished.glob("measurements/*/*/*.json")]
    assert len(measured) == 11 and min(measured) > trained


def test_a_second_run_computes_nothing_again(copied: Path) -> None:
    files = [*copied.glob("out/cells/**/*"), *copied.glob("out/measurements/**/*.json"), *copied.glob("out/vectors/*")]
    before = {path: path.stat().st_mtime_ns for path in files}
    code, text = run(copied)
    assert code == 0 and "9 cells taken" in text and "[1/" not in text
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_finished_cell_whose_recipe_has_changed_is_refused_or_trained_again(copied: Path) -> None:
    recipe = copied / "tiny-student.toml"
    recipe.write_text(recipe.read_text().replace("learning_rate = 1e-3", "learning_rate = 2e-3"))
    before = records(copied / "out")
    with pytest.raises(DataError, match=r"cells/start was trained by another recipe .* Give --again"):
        run(copied)
    assert records(copied / "out") == before
    code, text = run(copied, "--again")
    after = records(copied / "out")
    assert code == 0 and "tiny-student.seed-3: its recipe has changed; it is trained again." in text
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {name for name in after if name.startswith(("start", "tiny-student"))}


def test_a_folder_of_another_experiment_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "other.toml").write_text(EXPERIMENT.replace('name = "tiny"', 'name = "other"'))
    with pytest.raises(DataError, match=r"holds the experiment tiny, not other. Choose another folder"):
        run(copied, file="other.toml")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds beach.jpg, but no experiment"):
        run_command(experiment, copied / "tiny.toml", tmp_path / "holiday", "--data", copied)


def test_missing_data_is_named_before_anything_is_trained(project: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"needs its teacher's encoder file, teacher.onnx, which is not in .*Name it with"
    ):
        run_command(experiment, project / "tiny.toml", tmp_path / "out", "--data", tmp_path)


def test_a_failed_cell_is_named_and_the_rest_goes_on(copied: Path) -> None:
    (copied / "failing.toml").write_text(EXPERIMENT.replace("rates = [1.0, 10.0]", "rates = [1.0, 10.0, 1e30]"))
    code, text = run(copied, file="failing.toml")
    assert code == 3
    failed = [each for each in records(copied / "out").values() if each.state == "failed"]
    assert {each.name for each in failed} == {"tiny-mined.tuning.rate-1e+30", "tiny-student.tuning.rate-1e+30"}
    assert "is no longer finite" in failed[0].reason and "2 cells, cells that failed" in text
    table = json.loads((copied / "out" / "table.json").read_text())
    assert len(table["rows"]) == 4 and "Failed: `tiny-mined.tuning.rate-1e+30`" in (copied / "out/table.md").read_text()


def test_a_training_that_was_killed_ends_with_the_network_of_one_that_was_not(finished: Path, copied: Path) -> None:
    cell = finished / "cells" / KILLED
    assert "--resume" in (cell / "log.txt").read_text()
    options = ("--data", copied, "--data", finished, "--cache", finished / "cache", "--threads", 1)
    assert run_command(train, cell / "recipe.toml", copied / "whole", *options).exit_code == 0
    assert have_equal_tensors(cell / "run" / "last.pt", copied / "whole" / "last.pt")


def test_trainings_at_the_same_time_stop_together_continue_and_give_the_same_table(
    finished: Path, copied: Path
) -> None:
    out = copied / "out"
    for path in [*out.glob("cells/tiny-mined.*"), *out.glob("measurements/tiny-mined.*"), *out.glob("table.*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    tuning = grid_of(read_experiment(str(copied / "tiny.toml"))).tuning({})[:2]
    folders = [CellFolder(out, cell) for cell in tuning]
    options = ["--data", str(copied), "--data", str(out), "--cache", str(out / "cache"), "--threads", "1"]
    with held_folder(out) as held:
        place = Workplace(out, (copied,), copied / "teacher.onnx", out / "vectors", held)
        with pytest.raises(KeyboardInterrupt), Trainings(2, options, place) as trainings:
            for folder in folders:
                folder.begin()
                trainings.begin(folder)
            assert trainings.are_full
            wait_until(lambda: all(each.checkpoint.exists() for each in folders), "both have saved a step")
            # As a supervisor does, which sends SIGTERM to every process; a second one must not end what is being saved.
            for process in multiprocessing.active_children():
                process.terminate()
            raise KeyboardInterrupt
    for folder in folders:
        assert "Continue with --resume." in " ".join((folder.path / "log.txt").read_text().split())
        assert (folder.path / "seconds.json").exists()
    code, text = run(copied, "--jobs", 3)
    assert code == 0 and "tiny-mined.seed-3: held-out mAP" in text
    for folder in folders:
        assert (folder.path / "log.txt").read_text().count("$ askew train") == 2
    assert figures(out) == figures(finished)


def test_an_interruption_waits_until_a_training_that_begins_is_known() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), interruption_deferred():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


def figures(out: Path) -> dict[str, object]:
    """The table without the times that its cells took, and the folders that they were in."""
    table = json.loads((out / "table.json").read_text())
    return {**table, "cells": [{**cell, "seconds": 0, "command": []} for cell in table["cells"]]}
