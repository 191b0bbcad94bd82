"""The paper's pair, from its published teacher to a search: the shipped recipe on tiny data, with random weights."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from askew_client import Encoder
from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.cli.export import export
from askew_training.cli.import_checkpoint import import_checkpoint
from askew_training.cli.train import train
from askew_training.cli.whiten import whiten
from askew_training.errors import RecipeError
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.recipes import shipped_recipes
from tests.support.running_server import RunningServer, run_askew
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import run_command
from tests.training.networks.imported.published_files import release, retrieval_network, save, whitening
from tests.training.train.test_shipped_recipes import save as save_photo

TEACHER = "retrievalSfM120k-resnet101-gem-b80fb85.pth"
SMALLER = {
    "tf_efficientnet_b3": TINY_TRUNK,
    'weights = "timm"': 'weights = "random"',
    "photo_size = 362": "photo_size = 96",
    "tuples = 5": "tuples = 3",
    "queries = 2000": "queries = 6",
    "negatives = 5": "negatives = 3",
    "pool = 20000": "pool = 14",
    "epochs = 100": "epochs = 1",
    "photo_size = 1024": "photo_size = 96",
}


def make_tiny_set(folder: Path) -> None:
    """Three models of two photos to train on, and two of two for validation, in the layout of retrieval-SfM-120k."""
    content = {}
    for split, first, clusters in (("train", 0, 3), ("val", 3, 2)):
        numbers = range(2 * first, 2 * (first + clusters))
        names = [f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            save_photo(folder / "ims" / name[-2:] / name[-4:-2] / name[-6:-4] / name, number // 2, number)
        rows = range(len(names))
        content[split] = {
            "cids": names,
            "cluster": [row // 2 for row in rows],
            "qidxs": list(rows),
            "pidxs": [row ^ 1 for row in rows],
        }
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(content, 2))
    lines = ["path,instance_id,role,benchmark,set"]
    for number in range(12):
        save_photo(folder / "photos" / f"{number}.jpg", number // 3, number)
        lines.append(f"{number}.jpg,thing{number // 3},{'gallery' if number % 3 else 'query'},things,things")
    (folder / "photos" / "manifest.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_papers_pair_goes_from_its_published_teacher_to_a_search(tmp_path: Path) -> None:
    make_tiny_set(tmp_path)
    shipped = shipped_recipes()["paper/contrastive-plus"]
    text = shipped.read_text(encoding="utf-8")
    for large, small in SMALLER.items():
        assert large in text
        text = text.replace(large, small)
    (tmp_path / "recipe.toml").write_text(text)
    (tmp_path / "licences.toml").write_text((shipped.parent / "licences.toml").read_text())
    arguments = (tmp_path / "recipe.toml", tmp_path / "run", "--cache", tmp_path / "cache")
    with pytest.raises(
        RecipeError, match=rf"published at http://cmp\.felk\.cvut\.cz/\S+/{re.escape(TEACHER)}: fetch it"
    ):
        run_command(train, *arguments)
    network = retrieval_network("mobilenet_v2", dim=2048)
    layer = {"retrieval-SfM-120k": {"ms": whitening(2048, 1)}}
    save(tmp_path / TEACHER, release(network, "mobilenet_v2", Lw=layer))

    said = run_command(train, *arguments).output
    assert "The teacher describes 10 of 10 photos" in said
    student = load_checkpoint(tmp_path / "run" / "last.pt")
    run_command(import_checkpoint, tmp_path / TEACHER, tmp_path / "bare.pt")
    assert student.network.dim == 2048 and student.space_id == load_checkpoint(tmp_path / "bare.pt").space_id

    size = ("--photo-size", 96)
    run_command(
        import_checkpoint, tmp_path / TEACHER, tmp_path / "teacher.pt", "--whitening", "retrieval-SfM-120k/ms", *size
    )
    given = ("--start", tmp_path / "run" / "last.pt", "--method", "given", "--space-of", tmp_path / "teacher.pt")
    run_command(whiten, tmp_path / "student.pt", *given, "--scales", 1)
    for role in ("teacher", "student"):
        card = ("--role", role, "--name", role, "--version", 1, "--licence", "CC0", "--scales", 1, *size)
        run_command(export, tmp_path / f"{role}.pt", tmp_path / f"{role}.onnx", *card)
    encoders = {role: Encoder(tmp_path / f"{role}.onnx") for role in ("teacher", "student")}
    assert {each.manifest.space_id for each in encoders.values()} == {load_checkpoint(tmp_path / "teacher.pt").space_id}

    pair = ("--queries", tmp_path / "student.onnx", "--gallery", tmp_path / "teacher.onnx")
    measured = run_command(
        evaluate, *pair, "--manifest", tmp_path / "photos" / "manifest.csv", "--cache", tmp_path / "cache"
    )
    assert "things" in measured.output, measured.output

    into = ("--gallery", "paper", "--data", tmp_path / "data")
    indexed = run_askew("index", tmp_path / "photos", "--encoder", tmp_path / "teacher.onnx", *into)
    assert indexed.returncode == 0, indexed.stderr
    with RunningServer(tmp_path / "data", "--gallery", "paper") as server:
        for role, encoder in encoders.items():
            vector = encoder.encode(tmp_path / "photos" / "4.jpg")
            headers = {
                "Askew-Space": encoder.manifest.space_id,
                "Content-Type": "application/octet-stream",
                "Askew-Dtype": "f32le",
            }
            answer: httpx.Response = server.http.post(
                "/v1/galleries/paper/search", content=vector.astype("<f4").tobytes(), headers=headers
            )
            assert answer.status_code == 200, answer.text
            scores = {hit["id"]: hit["score"] for hit in answer.json()["hits"]}
            assert len(scores) == 10 and np.isfinite(list(scores.values())).all()
            # Random networks describe all photos nearly alike, so which one is first says nothing.
            assert role == "student" or scores["4.jpg"] > 0.999
    assert torch.isfinite(student.network.branches[0].pool.state_dict()["p"]).all()
