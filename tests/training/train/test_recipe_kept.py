"""A network can be traced to the recipe that it was trained by."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
import torch

from askew_client.contract.encoder_file import read_encoder_file
from askew_training.export.encoder_file import EncoderCard, recipe_texts_of, write_encoder
from askew_training.export.reexport import rewrite_encoder
from askew_training.networks.checkpoint import load_checkpoint
from tests.training.train.project import ASYMMETRIC, run_recipe

CARD = EncoderCard("tiny", "1", "student", 96, (1.0,), "fp32", "CC0", {})


@pytest.mark.slow
def test_checkpoints_and_encoder_files_hold_the_text_of_their_recipe_and_name_its_digest(folder: Path) -> None:
    text = "# By hand.\n" + ASYMMETRIC
    run_recipe(folder, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    loaded = load_checkpoint(folder / "out" / "last.pt")
    assert loaded.description.recipe == f"askew train tiny-student (recipe SHA-256 {digest})"
    assert loaded.description.recipe_texts == (text,)
    assert load_checkpoint(folder / "out" / "best.pt").description.recipe_texts == (text,)
    write_encoder(loaded, CARD, folder / "student.onnx")
    rewrite_encoder(folder / "student.onnx", "2", folder / "again.onnx")
    for name in ("student.onnx", "again.onnx"):
        assert digest in read_encoder_file(folder / name).manifest.recipe
        assert recipe_texts_of(onnx.load(folder / name)) == [text]
    # Trained further: both recipes, the first one first.
    later = ASYMMETRIC.replace('weights = "random"\n', "").replace('head = "ridge"', 'head = "kept"')
    later = "\n".join('checkpoint = "out/last.pt"' if line.startswith("trunk") else line for line in later.splitlines())
    run_recipe(folder, later, output="later")
    described = load_checkpoint(folder / "later" / "last.pt").description
    assert described.recipe_texts == (text, later)
    assert digest in described.recipe and hashlib.sha256(later.encode()).hexdigest() in described.recipe


@pytest.mark.slow
def test_the_held_out_instances_move_with_the_seed_only_if_no_seed_is_stated_for_them(folder: Path) -> None:
    fixed = ASYMMETRIC.replace("held_out = 0.3", "held_out = 0.3\nheld_out_seed = 0")
    said = {
        name: run_recipe(folder, f"seed = {seed}\n{text}", output=name)
        for name, seed, text in (("own-0", 0, ASYMMETRIC), ("own-5", 5, ASYMMETRIC), ("fixed-5", 5, fixed))
    }
    held = {name: next(line for line in text.splitlines() if "held-out" in line) for name, text in said.items()}
    assert held["own-0"] == held["fixed-5"] != held["own-5"]
    tensors = [torch.load(folder / name / "last.pt", weights_only=True)["tensors"] for name in ("own-0", "fixed-5")]
    assert any(not torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
