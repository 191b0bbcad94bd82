"""`askew train`: what a run learns and leaves behind."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from askew_training.data.photo_sets import hold_out, training_photos
from askew_training.errors import CheckpointError, TrainingError
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from askew_training.networks.network import ScaleMean
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import SPACE, checkpoint_of, tiny_network
from tests.training.train.project import (
    ASYMMETRIC,
    MINED,
    MINED_SYMMETRIC,
    SYMMETRIC,
    have_equal_tensors,
    log_lines,
    run_recipe,
    tensors_of,
)


@pytest.mark.slow
def test_a_teacher_learns_by_labels_and_leaves_checkpoints_and_logs(folder: Path) -> None:
    printed = run_recipe(folder, SYMMETRIC.replace("epochs = 2", "epochs = 4"))
    assert "16 steps" in printed and "best mAP" in printed
    out = folder / "out"
    steps = log_lines(out, "train")
    assert [line["step"] for line in steps] == list(range(1, 17))
    assert np.mean([line["loss"] for line in steps[-4:]]) < np.mean([line["loss"] for line in steps[:4]])
    validations = log_lines(out, "validation")
    assert [line["step"] for line in validations] == [0, 4, 8, 12, 16]
    assert all(0 <= line["mAP"] <= 1 and "walls" in line for line in validations)
    assert any((out / "tensorboard").iterdir())
    for name in ("last.pt", "best.pt"):
        loaded = load_checkpoint(out / name)
        assert re.fullmatch(r"askew train tiny-teacher \(recipe SHA-256 [0-9a-f]{64}\)", loaded.description.recipe)
        (text,) = loaded.description.recipe_texts
        assert hashlib.sha256(text.encode()).hexdigest() in loaded.description.recipe
        assert loaded.description.teacher_space is None
        assert loaded.space_id.startswith("sp1-")
    # Batch statistics are frozen: the photos of one shape are too few for statistics of their own.
    before, after = tensors_of(out / "best.pt"), tensors_of(out / "last.pt")
    running = [name for name in after if "running_" in name]
    assert running and all(torch.equal(before[name], after[name]) for name in running)


@pytest.mark.slow
def test_a_student_learns_its_teachers_vectors_in_the_teachers_space(folder: Path) -> None:
    run_recipe(folder, ASYMMETRIC.replace("epochs = 2", "epochs = 6"))
    validations = log_lines(folder / "out", "validation")
    steps = log_lines(folder / "out", "train")
    assert np.mean([line["loss"] for line in steps[-4:]]) < np.mean([line["loss"] for line in steps[:4]])
    assert validations[0].keys() >= {"loss", "mAP", "walls"}
    loaded = load_checkpoint(folder / "out" / "last.pt")
    assert loaded.space_id == SPACE
    # All photos but those of held-out instances and the two distractors.
    kept, _ = hold_out(training_photos(None, [folder / "pool"], [folder / "walls"]), 0.3, 0)
    assert sum(source.photos for source in loaded.description.data) == len(kept) - 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [MINED, MINED_SYMMETRIC], ids=["asymmetric", "symmetric"])
def test_tuples_are_mined_in_each_epoch_and_the_mining_is_logged(folder: Path, recipe: str) -> None:
    run_recipe(folder, recipe.replace("epochs = 2", "epochs = 5"))
    steps, mined = log_lines(folder / "out", "train"), log_lines(folder / "out", "mining")
    assert [line["epoch"] for line in mined] == list(range(5))
    assert [line["epoch"] for line in steps] == [epoch for epoch in range(5) for _ in range(3)]
    assert all(-1 <= line["negative_similarity"] <= 1 and 0 <= line["active_contrastive"] <= 1 for line in mined)
    assert len({line["negative_similarity"] for line in mined}) == 5
    validations = log_lines(folder / "out", "validation")
    assert len(validations) == 6 and all(0 <= line["mAP"] <= 1 for line in validations)


@pytest.mark.slow
def test_a_checkpoint_that_is_trained_further_keeps_its_history(folder: Path) -> None:
    run_recipe(folder, SYMMETRIC)
    further = SYMMETRIC.replace(f'trunk = "{TINY_TRUNK}"\nweights = "random"', 'checkpoint = "out/last.pt"')
    further = further.replace('head = "random"\ndim = 8', 'head = "kept"').replace("tiny-teacher", "further")
    further = further.replace('photos = ["pool"]\n', "").replace("unlabelled = 2\n", "")
    run_recipe(folder, further, output="further")
    description = load_checkpoint(folder / "further" / "last.pt").description
    digest = r"\(recipe SHA-256 [0-9a-f]{64}\)"
    assert re.fullmatch(f"askew train tiny-teacher {digest}; askew train further {digest}", description.recipe)
    assert len(description.recipe_texts) == 2
    assert [source.name for source in description.data] == ["pool", "walls"]


@pytest.mark.slow
@pytest.mark.parametrize("head", ['"kept"', '"random"\ndim = 8', '"none"'])
def test_a_checkpoint_that_is_trained_further_averages_scales_as_before(folder: Path, head: str) -> None:
    mean = ScaleMean(exponent=9.0)
    start = checkpoint_of(tiny_network(dim=8))
    description = start.description.model_copy(update={"scale_mean": mean})
    save_checkpoint(folder / "start.pt", replace(start, description=description))
    further = SYMMETRIC.replace(f'trunk = "{TINY_TRUNK}"\nweights = "random"', 'checkpoint = "start.pt"')
    run_recipe(folder, further.replace('"random"\ndim = 8', head).replace("epochs = 2", "epochs = 1"))
    assert load_checkpoint(folder / "out" / "last.pt").network.scale_mean == mean


@pytest.mark.slow
def test_a_run_is_neither_overwritten_nor_continued_with_another_recipe(folder: Path) -> None:
    recipe = SYMMETRIC.replace("epochs = 2", "epochs = 1")
    run_recipe(folder, recipe)
    with pytest.raises(TrainingError, match="already holds a run"):
        run_recipe(folder, recipe)
    with pytest.raises(CheckpointError, match="made by another recipe"):
        run_recipe(folder, recipe.replace("learning_rate = 1e-3", "learning_rate = 1e-4"), "--resume")
    with pytest.raises(CheckpointError, match="no run to resume"):
        run_recipe(folder, recipe, "--resume", output="elsewhere")
    (folder / "out" / "last.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="damaged"):
        run_recipe(folder, recipe, "--resume")


@pytest.mark.slow
def test_accumulated_batches_are_one_step(folder: Path) -> None:
    run_recipe(folder, SYMMETRIC.replace("unlabelled = 2", "unlabelled = 2\naccumulate = 3"))
    steps = log_lines(folder / "out", "train")
    # Four batches an epoch: a step after three, and one after the last.
    assert [line["step"] for line in steps] == [1, 2, 3, 4]


def test_a_loss_that_becomes_nan_stops_the_run_and_the_last_good_checkpoint_is_kept(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"no longer finite in step \d+ of epoch \d+, with (walls|pool)/") as raised:
        run_recipe(folder, SYMMETRIC.replace("learning_rate = 1e-3", "learning_rate = 1e18"))
    assert "Lower the learning rate" in str(raised.value)
    last = folder / "out" / "last.pt"
    if last.exists():
        assert all(bool(torch.isfinite(each).all()) for each in tensors_of(last).values())
    assert all(bool(torch.isfinite(each).all()) for each in tensors_of(folder / "out" / "best.pt").values())


def truncate_photos(folder: Path, count: int) -> None:
    """Cut photos in half: their headers are intact, so the damage is found only when an epoch decodes them."""
    for path in sorted((folder / "walls").rglob("*.jpg"))[:count]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


ALL_PHOTOS = ASYMMETRIC.replace('head = "ridge"', 'head = "random"\ndim = 8').replace("held_out = 0.3\n", "")


@pytest.mark.slow
def test_a_damaged_photo_in_an_epoch_is_skipped_and_counted(folder: Path) -> None:
    truncate_photos(folder, 2)
    assert run_recipe(folder, ALL_PHOTOS).count("skipped: ") >= 2
    content = torch.load(folder / "out" / "last.pt", weights_only=True)
    # Each of the two once in each of the two epochs.
    assert content["training"]["progress"]["unreadable"] == 4


def test_too_many_damaged_photos_stop_the_run(folder: Path) -> None:
    truncate_photos(folder, 14)
    with pytest.raises(
        TrainingError, match=r"11 photos could not be read, the last: .* `askew check-photos --thorough`"
    ):
        run_recipe(folder, ALL_PHOTOS)


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_good_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_recipe(folder, SYMMETRIC)
    content = torch.load(folder / "out" / "last.pt", weights_only=True)
    content["training"]["progress"].update(epoch=1, batch=0)
    torch.save(content, folder / "out" / "last.pt")
    good = (folder / "out" / "last.pt").read_bytes()

    flush, calls = os.fsync, []

    def full_after_two_files(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_two_files)
    with pytest.raises(TrainingError, match=r"No space left on device.*Make room, and continue with --resume"):
        run_recipe(folder, SYMMETRIC, "--resume")
    monkeypatch.undo()
    assert (folder / "out" / "last.pt").read_bytes() == good
    assert not list((folder / "out").glob(".*.part"))
    assert "12 steps" in run_recipe(folder, SYMMETRIC, "--resume")


@pytest.mark.slow
def test_decoded_photos_can_be_stored(folder: Path) -> None:
    run_recipe(folder, SYMMETRIC, output="plain")
    printed = run_recipe(folder, SYMMETRIC.replace("[batches]", 'decoded = "decoded"\n[batches]'), output="stored")
    assert "Decoded photos are stored in" in printed
    assert have_equal_tensors(folder / "plain" / "last.pt", folder / "stored" / "last.pt")
