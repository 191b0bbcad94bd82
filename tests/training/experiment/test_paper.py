"""docs/paper.md on tiny files in the published layouts: from the published files to the finished table."""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from askew_client.contract.encoder_file import read_encoder_file
from askew_training.cli.cache import cache
from askew_training.cli.check_photos import check_photos
from askew_training.cli.evaluation.compare import compare
from askew_training.cli.evaluation.evaluate_revisited import evaluate_revisited
from askew_training.cli.evaluation.report import report
from askew_training.cli.experiment import experiment
from askew_training.cli.export import export
from askew_training.cli.import_checkpoint import import_checkpoint
from askew_training.experiment.table import ResultTable
from askew_training.recipes import shipped_recipes
from tests.support.paths import ROOT
from tests.support.training_helpers import picture, run_command
from tests.training.evaluate.revisited.truths import truth_of
from tests.training.experiment.project import SMALL_TRUNK, save
from tests.training.networks.imported.published_files import release, retrieval_network, whitening
from tests.training.networks.imported.published_files import save as save_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "paper.md"
CHANNELS = 256
COMMANDS: dict[str, Callable[..., Any]] = {
    "cache": cache,
    "check-photos": check_photos,
    "compare": compare,
    "evaluate-revisited": evaluate_revisited,
    "experiment": experiment,
    "export": export,
    "import-checkpoint": import_checkpoint,
    "report": report,
}

SMALLER = f"""
[changes.network]
trunk = "{SMALL_TRUNK}"
weights = "random"
projection = {CHANNELS}
[changes.batches]
photo_size = 96
tuples = 3
[changes.mining]
queries = 6
negatives = 3
pool = 14
[changes.run]
epochs = 1
[changes.encoder]
photo_size = 96
scales = [1.0]
"""
REPLACED = {
    'recipes = ["paper"]': 'recipes = ["paper/contrastive", "paper/contrastive-plus"]',
    "seeds = [0, 1, 2]": "seeds = [0]",
    "[tuning]\nrates = [0.33333333, 1.0, 3.0]\nlength = 0.1\n": "",
    "[whitening]": "[whitening]\ndim = 12\nshrinkage = 0.5",
}


def tiny_experiment() -> str:
    """The shipped experiment with two of its recipes, smaller, and a claim about them."""
    from askew_training.experiments import shipped_experiments

    text = shipped_experiments()["paper"].read_text(encoding="utf-8")
    for old, new in REPLACED.items():
        assert old in text
        text = text.replace(old, new)
    text = text[: text.index("[[claims]]")]
    return (
        text + SMALLER + '[[claims]]\nsentence = "Contr⁺ beats Contr"\nmethod = "contrastive-plus"\n'
        'testing = "asymmetric"\nrelation = "better"\nthan = "contrastive"\n'
    )


def make_sfm120k(folder: Path) -> None:
    """Six models of four photos, and two of four for validation, in the layout of retrieval-SfM-120k."""
    content = {}
    for split, clusters, first in (("train", 6, 0), ("val", 2, 6)):
        names = [f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}" for number in range(4 * first, 4 * (first + clusters))]
        for number, name in enumerate(names):
            path = folder / "ims" / name[-2:] / name[-4:-2] / name[-6:-4] / f"{name}.png"
            save(path, first + number // 4, number)
            path.rename(path.with_suffix(""))
        rows = range(len(names))
        content[split] = {
            "cids": names,
            "cluster": [row // 4 for row in rows],
            "qidxs": list(rows),
            "pidxs": [row // 4 * 4 + (row + 1) % 4 for row in rows],
        }
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(content, 2))
    pairs = {key: content["train"][key] for key in ("cids", "qidxs", "pidxs")}
    (folder / "retrieval-SfM-120k-whiten.pkl").write_bytes(pickle.dumps(pairs, 2))


def make_teacher(folder: Path) -> None:
    """A release of cirtorch with a whitening."""
    network = retrieval_network(SMALL_TRUNK)
    content = release(network, "efficientnet_b3", Lw={"retrieval-SfM-120k": {"ms": whitening(CHANNELS)}})
    save_release(folder / "retrievalSfM120k-resnet101-gem-b80fb85.pth", content)


def make_revisited(root: Path, dataset: str) -> None:
    """Three queries, each with two photos of the same in a gallery of eight."""
    truth = truth_of(8, [{"easy": [2 * row], "hard": [2 * row + 1], "junk": []} for row in range(3)])
    (root / dataset / "jpg").mkdir(parents=True)
    for row, name in enumerate([*truth["imlist"], *truth["qimlist"]]):
        shown = row // 2 if row < 8 else row - 8
        Image.fromarray(picture(120, 160, shown)).save(root / dataset / "jpg" / f"{name}.jpg", quality=95 - 3 * row)
    for query in truth["gnd"]:
        query["bbx"] = [10.0, 5.0, 150.0, 110.0]
    (root / dataset / f"gnd_{dataset}.pkl").write_bytes(pickle.dumps(truth, 2))


def page_commands() -> list[list[str]]:
    """The commands of the page, with files' names in place of patterns only when they are run."""
    lines = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    askew ")]
    return [shlex.split(line)[1:] for line in lines]


def in_small(name: str, arguments: list[str]) -> list[str]:
    """A command of the page for the files of this test."""
    found = [path for each in arguments for path in (sorted(map(str, Path().glob(each))) if "*" in each else [each])]
    if name == "import-checkpoint":
        return [*found, "--trunk", SMALL_TRUNK]
    if name == "experiment":
        return ["paper-tiny.toml", *found[1:], "--threads", "1"]
    return [*found, "--resamples", "100", "--time-rounds", "1"] if name == "compare" else found


def test_the_page_goes_from_the_published_files_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_sfm120k(tmp_path)
    for dataset in ("roxford5k", "rparis6k"):
        make_revisited(tmp_path / "revisited", dataset)
    save(tmp_path / "revisited" / "revisitop1m" / "jpg" / "1.jpg", 77)
    make_teacher(tmp_path)
    (tmp_path / "paper-tiny.toml").write_text(tiny_experiment())
    commands = page_commands()
    assert [name for name, *_ in commands if name == "experiment"] == ["experiment"] and len(commands) >= 11
    for name, *arguments in commands:
        result = run_command(COMMANDS[name], *in_small(name, arguments))
        assert result.exit_code == 0, (name, arguments, result.output)
    assert Path("report.html").exists()
    out = tmp_path / "runs" / "paper"
    table = ResultTable.model_validate_json((out / "table.json").read_text())
    assert [row.method for row in table.rows] == ["teacher", "contrastive", "contrastive-plus"]
    places = {(figure.testing, figure.dataset, figure.protocol) for figure in table.rows[1].figures}
    assert places == {
        (testing, dataset, protocol)
        for testing in ("symmetric", "asymmetric")
        for dataset in ("roxford5k", "rparis6k")
        for protocol in ("easy", "medium", "hard")
    }
    assert {claim.dataset for claim in table.claims} == {"roxford5k", "rparis6k"}
    assert "asymmetric roxford5k medium" in (out / "table.md").read_text()
    assert_whitened(out)
    again = run_command(experiment, *in_small("experiment", ["paper", "runs/paper", "--vectors", "vectors"]))
    assert again.exit_code == 0 and "whitening" not in again.output and "[1/" not in again.output


def assert_whitened(out: Path) -> None:
    """The teacher has its published whitening, its students too, and each network one of its own."""
    teacher = read_encoder_file(out / "teacher" / "encoder.onnx").manifest
    assert teacher.space_id == read_encoder_file(Path("teacher-whitened.onnx")).manifest.space_id
    assert teacher.space_id != read_encoder_file(Path("teacher.onnx")).manifest.space_id
    for method in ("contrastive", "contrastive-plus"):
        cell = out / "cells" / f"{method}.seed-0"
        own, given = (read_encoder_file(cell / f"{testing}.onnx").manifest for testing in ("symmetric", "asymmetric"))
        assert (own.role, own.dim) == ("teacher", 12) and own.space_id != teacher.space_id
        assert (given.role, given.dim, given.space_id) == ("student", CHANNELS, teacher.space_id)


def test_the_shipped_experiment_has_every_row_of_the_table() -> None:
    from askew_training.experiment.plan import read_experiment

    every = {name.split("/")[1] for name in shipped_recipes() if name.startswith("paper/")}
    assert set(read_experiment("paper").recipes) == every
