"""The experiment `paper` on tiny files in the published layouts: from the pickles to the finished table."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

from askew_client.contract.encoder_file import read_encoder_file
from askew_training.cli.experiment import experiment
from askew_training.experiment.table import ResultTable
from askew_training.export.encoder_file import write_encoder
from askew_training.networks.checkpoint import save_checkpoint
from askew_training.networks.network import Network
from askew_training.recipes import shipped_recipes
from tests.support.training_helpers import CARD, checkpoint_of, picture, run_command, tiny_network
from tests.training.evaluate.revisited.truths import truth_of
from tests.training.experiment.project import SMALL_TRUNK, save

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SMALLER = f"""
[changes.network]
trunk = "{SMALL_TRUNK}"
weights = "random"
projection = 256
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
    "rates = [0.33333333, 1.0, 3.0]": "rates = [1.0]",
    "length = 0.1": "length = 1.0",
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


def make_teacher(folder: Path) -> str:
    """The teacher's encoder file without whitening, and its checkpoint with one; returns the space of the latter."""
    network = tiny_network(dim=None, trunk=SMALL_TRUNK)
    bare = checkpoint_of(network, photo_size=96)
    write_encoder(bare, replace(CARD, photo_size=96), folder / "teacher.onnx", simplified=False)
    whitened = Network(network.branches, nn.Linear(network.channels, 16), (1.0, 0.70710678)).eval()
    checkpoint = checkpoint_of(whitened, photo_size=96)
    save_checkpoint(folder / "teacher-whitened.pt", checkpoint)
    return checkpoint.space_id


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


def test_the_paper_goes_from_the_published_files_to_its_table(tmp_path: Path) -> None:
    make_sfm120k(tmp_path)
    for dataset in ("roxford5k", "rparis6k"):
        make_revisited(tmp_path / "revisited", dataset)
    space = make_teacher(tmp_path)
    (tmp_path / "paper-tiny.toml").write_text(tiny_experiment())
    arguments = (tmp_path / "paper-tiny.toml", tmp_path / "out", "--data", tmp_path, "--threads", 1)
    result = run_command(experiment, *arguments)
    assert result.exit_code == 0, result.output
    table = ResultTable.model_validate_json((tmp_path / "out" / "table.json").read_text())
    assert [row.method for row in table.rows] == ["teacher", "contrastive", "contrastive-plus"]
    places = {(figure.testing, figure.dataset, figure.protocol) for figure in table.rows[1].figures}
    assert places == {
        (testing, dataset, protocol)
        for testing in ("symmetric", "asymmetric")
        for dataset in ("roxford5k", "rparis6k")
        for protocol in ("easy", "medium", "hard")
    }
    for method in ("contrastive", "contrastive-plus"):
        cell = tmp_path / "out" / "cells" / f"{method}.seed-0"
        own, given = (read_encoder_file(cell / f"{testing}.onnx").manifest for testing in ("symmetric", "asymmetric"))
        assert (own.role, own.dim) == ("teacher", 12) and own.space_id != space
        assert (given.role, given.dim, given.space_id) == ("student", 16, space)
    teacher = read_encoder_file(tmp_path / "out" / "teacher" / "encoder.onnx").manifest
    assert teacher.space_id == space and len(teacher.scales) == 2
    assert {claim.dataset for claim in table.claims} == {"roxford5k", "rparis6k"}
    again = run_command(experiment, *arguments)
    assert again.exit_code == 0 and "whitening" not in again.output and "[1/" not in again.output
    assert "asymmetric roxford5k medium" in (tmp_path / "out" / "table.md").read_text()


def test_the_shipped_experiment_has_every_row_of_the_table() -> None:
    from askew_training.experiment.plan import read_experiment

    every = {name.split("/")[1] for name in shipped_recipes() if name.startswith("paper/")}
    assert set(read_experiment("paper").recipes) == every
