"""`askew train`: what it leaves behind, how it goes on, and how it stops."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from accelerate.state import AcceleratorState
from PIL import Image
from typer.testing import CliRunner

from askew_client import files
from askew_client.errors import AskewError
from askew_training.cli.train import train
from askew_training.errors import CheckpointError, DataError, RecipeError, TrainingError
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.train.recipe import Recipe, read_recipe
from askew_training.vectors.import_npy import import_npy
from askew_training.vectors.manifest import Dtype
from tests.support.paths import ROOT
from tests.support.training_helpers import TINY_TRUNK, picture

SPACE = "sp1-" + "0" * 32
INSTANCES, EACH, UNLABELLED = 8, 4, 6

SYMMETRIC = f"""
name = "tiny-teacher"
[network]
trunk = "{TINY_TRUNK}"
weights = "random"
head = "random"
dim = 8
[data]
folders = ["walls"]
photos = ["pool"]
licences = "licences.toml"
held_out = 0.3
validation_distractors = 2
[batches]
photo_size = 96
instances = 3
unlabelled = 2
[augmentation]
smallest_crop = 0.6
colour = 0.2
[[losses]]
name = "contrastive"
references = "student"
form = "similarity"
margin = 0.3
[optimiser]
name = "adamw"
learning_rate = 1e-3
[run]
epochs = 2
steps_each_epoch = 4
save_each_steps = 1
[encoder]
photo_size = 96
"""

ASYMMETRIC = (
    SYMMETRIC.replace("tiny-teacher", "tiny-student")
    .replace('head = "random"\ndim = 8', 'head = "ridge"')
    .replace("[data]", '[teacher]\nvectors = "vectors"\n[data]')
    .replace("instances = 3\nunlabelled = 2", "photos = 6")
    .replace("steps_each_epoch = 4\n", "")
    .replace('name = "contrastive"\nreferences = "student"\nform = "similarity"\nmargin = 0.3', 'name = "regression"')
)

MINED = (
    ASYMMETRIC.replace("tiny-student", "tiny-mined")
    .replace("photos = 6\n", "tuples = 3\n[mining]\nqueries = 8\nnegatives = 2\npool = 20\n")
    .replace('name = "regression"', 'name = "contrastive"\nreferences = "teacher"\nmargin = 1.3')
)

MINED_SYMMETRIC = (
    SYMMETRIC.replace("tiny-teacher", "tiny-mined-teacher")
    .replace("steps_each_epoch = 4\n", "")
    .replace("instances = 3\nunlabelled = 2", "tuples = 3\n[mining]\nqueries = 8\nnegatives = 2\npool = 20")
)


@pytest.fixture(autouse=True)
def _accelerate_as_in_a_new_process():
    """Accelerate keeps the precision of a process's first run; a command has a process of its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight instances of four similar photos, six unlabelled ones, and a teacher's vectors of all."""
    ids = []
    for instance in range(INSTANCES):
        base = picture(72, 96, seed=instance).astype(int)
        for number in range(EACH):
            noise = np.random.default_rng(number).integers(-20, 20, base.shape)
            path = tmp_path / "walls" / f"wall{instance}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(path, quality=95)
            ids.append(f"walls/wall{instance}/{number}.jpg")
    (tmp_path / "pool").mkdir()
    for number in range(UNLABELLED):
        Image.fromarray(picture(96, 72, seed=100 + number)).save(tmp_path / "pool" / f"{number}.png")
        ids.append(f"pool/{number}.png")
    (tmp_path / "licences.toml").write_text('[licences]\nwalls = "CC0"\npool = "CC0"\n')
    vectors = np.random.default_rng(0).normal(size=(8, len(ids))).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors / np.linalg.norm(vectors, axis=0))
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n")
    import_npy(tmp_path / "vectors.npy", tmp_path / "ids.txt", SPACE, tmp_path / "vectors", Dtype.f32, 96)
    return tmp_path


def run(folder: Path, recipe: str, *options: str, output: str = "out") -> str:
    (folder / "recipe.toml").write_text(recipe)
    app = typer.Typer()
    app.command()(train)
    arguments = [folder / "recipe.toml", folder / output, "--cache", folder / "cache", *options]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def lines(folder: Path, kind: str) -> list[dict[str, float]]:
    written = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in written if line["kind"] == kind]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["tensors"]
    return content


def same(one: Path, other: Path) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def process(folder: Path, recipe: str, output: str, *options: str) -> subprocess.Popen[str]:
    (folder / "recipe.toml").write_text(recipe)
    command = [Path(sys.executable).parent / "askew", "train", folder / "recipe.toml", folder / output]
    arguments = [str(each) for each in (*command, "--cache", folder / "cache", "--threads", 1, *options)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_steps(process: subprocess.Popen[str], log: Path, steps: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and log.read_text().count('"kind": "train"') >= steps:
            return
        time.sleep(0.005)
    raise AssertionError(f"{steps} steps did not come: {process.communicate()[0] if process.poll() else 'timeout'}")


def test_a_teacher_learns_by_labels_and_leaves_checkpoints_and_logs(folder):
    said = run(folder, SYMMETRIC.replace("epochs = 2", "epochs = 4"))
    assert "16 steps" in said and "best mAP" in said
    out = folder / "out"
    steps = lines(out, "train")
    assert [line["step"] for line in steps] == list(range(1, 17))
    assert np.mean([line["loss"] for line in steps[-4:]]) < np.mean([line["loss"] for line in steps[:4]])
    validations = lines(out, "validation")
    assert [line["step"] for line in validations] == [0, 4, 8, 12, 16]
    assert all(0 <= line["mAP"] <= 1 and "walls" in line for line in validations)
    assert any((out / "tensorboard").iterdir())
    for name in ("last.pt", "best.pt"):
        loaded = load_checkpoint(out / name)
        assert loaded.description.recipe == "askew train tiny-teacher"
        assert loaded.description.teacher_space is None
        assert loaded.space_id.startswith("sp1-")
    # Batch statistics stand still: photos come in groups of a shape, too few for statistics of their own.
    before = load_checkpoint(out / "best.pt").network.state_dict()
    after = load_checkpoint(out / "last.pt").network.state_dict()
    running = [name for name in after if "running_" in name]
    assert running and all(torch.equal(before[name], after[name]) for name in running)


def test_a_student_learns_its_teachers_vectors_in_the_teachers_space(folder):
    run(folder, ASYMMETRIC.replace("epochs = 2", "epochs = 6"))
    validations = lines(folder / "out", "validation")
    steps = lines(folder / "out", "train")
    assert np.mean([line["loss"] for line in steps[-4:]]) < np.mean([line["loss"] for line in steps[:4]])
    assert validations[0].keys() >= {"loss", "mAP", "walls"}
    loaded = load_checkpoint(folder / "out" / "last.pt")
    assert loaded.space_id == SPACE
    assert loaded.description.data[0].photos + loaded.description.data[1].photos == steps_photos(folder)


@pytest.mark.parametrize("recipe", [MINED, MINED_SYMMETRIC], ids=["asymmetric", "symmetric"])
def test_tuples_are_mined_anew_in_each_epoch_and_what_was_mined_is_logged(folder, recipe):
    run(folder, recipe.replace("epochs = 2", "epochs = 5"))
    steps, mined = lines(folder / "out", "train"), lines(folder / "out", "mining")
    assert [line["epoch"] for line in mined] == list(range(5))
    assert [line["epoch"] for line in steps] == [epoch for epoch in range(5) for _ in range(3)]
    assert all(-1 <= line["negative_similarity"] <= 1 and 0 <= line["active_contrastive"] <= 1 for line in mined)
    assert len({line["negative_similarity"] for line in mined}) == 5
    validations = lines(folder / "out", "validation")
    assert len(validations) == 6 and all(0 <= line["mAP"] <= 1 for line in validations)


def steps_photos(folder: Path) -> int:
    """Photos that were trained on: all but the held-out instances and the two distractors."""
    recipe = read_recipe(folder / "recipe.toml")
    from askew_training.data.photo_sets import hold_out, training_photos

    photos = training_photos(None, recipe.data.photos, recipe.data.folders)
    return len(hold_out(photos, 0.3, 0)[0]) - 2


def test_a_checkpoint_that_is_trained_further_keeps_its_history(folder):
    run(folder, SYMMETRIC, output="first")
    further = SYMMETRIC.replace(f'trunk = "{TINY_TRUNK}"\nweights = "random"', 'checkpoint = "first/last.pt"')
    further = further.replace('head = "random"\ndim = 8', 'head = "kept"').replace("tiny-teacher", "further")
    run(folder, further.replace('photos = ["pool"]\n', "").replace("unlabelled = 2\n", ""))
    description = load_checkpoint(folder / "out" / "last.pt").description
    assert description.recipe == "askew train tiny-teacher; askew train further"
    assert [source.name for source in description.data] == ["pool", "walls"]


def test_the_recipes_of_the_demo_are_recipes():
    shipped = sorted((ROOT / "training" / "recipes").rglob("*.toml"))
    recipes = [path for path in shipped if path.name != "licences.toml"]
    assert recipes
    for path in recipes:
        Recipe.model_validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize(
    ("recipe", "number"),
    [(SYMMETRIC, signal.SIGKILL), (ASYMMETRIC, signal.SIGINT), (MINED, signal.SIGKILL)],
    ids=["symmetric, kill -9", "asymmetric, ctrl-c", "mined, kill -9"],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(folder, recipe, number):
    whole = process(folder, recipe, "whole")
    said = whole.communicate(timeout=120)[0]
    assert whole.returncode == 0, said
    cut = process(folder, recipe, "cut")
    wait_for_steps(cut, folder / "cut" / "log.jsonl", 2)
    cut.send_signal(number)
    said = cut.communicate(timeout=60)[0]
    assert cut.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), said
    if number == signal.SIGINT:
        assert "Stopped and saved" in said and "--resume" in said
    rest = process(folder, recipe, "cut", "--resume")
    said = rest.communicate(timeout=120)[0]
    assert rest.returncode == 0, said
    assert same(folder / "whole" / "last.pt", folder / "cut" / "last.pt")


def test_a_run_is_not_overwritten_nor_gone_on_with_by_another_recipe(folder):
    run(folder, SYMMETRIC)
    with pytest.raises(TrainingError, match="holds a run already"):
        run(folder, SYMMETRIC)
    with pytest.raises(CheckpointError, match="made by another recipe"):
        run(folder, SYMMETRIC.replace("learning_rate = 1e-3", "learning_rate = 1e-4"), "--resume")
    with pytest.raises(CheckpointError, match="no run to resume"):
        run(folder, SYMMETRIC, "--resume", output="elsewhere")
    (folder / "out" / "last.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="damaged"):
        run(folder, SYMMETRIC, "--resume")


def test_accumulated_batches_are_one_step(folder):
    run(folder, SYMMETRIC.replace("unlabelled = 2", "unlabelled = 2\naccumulate = 3"))
    steps = lines(folder / "out", "train")
    # Four batches an epoch: a step after three, and one after what is left.
    assert [line["step"] for line in steps] == [1, 2, 3, 4]


def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_the_last_good_checkpoint(folder):
    with pytest.raises(TrainingError, match=r"no longer finite in step \d+ of epoch \d+, with (walls|pool)/") as raised:
        run(folder, SYMMETRIC.replace("learning_rate = 1e-3", "learning_rate = 1e18"))
    assert "Lower the learning rate" in str(raised.value)
    last = folder / "out" / "last.pt"
    if last.exists():
        assert all(bool(torch.isfinite(each).all()) for each in tensors(last).values())
    best = tensors(folder / "out" / "best.pt")
    assert all(bool(torch.isfinite(each).all()) for each in best.values())


def truncated(folder: Path, count: int) -> None:
    """Cut photos in half: their headers are whole, so only decoding in the middle of an epoch finds it."""
    for path in sorted((folder / "walls").rglob("*.jpg"))[:count]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


def test_a_damaged_photo_in_an_epoch_is_skipped_and_counted(folder):
    truncated(folder, 2)
    said = run(folder, ASYMMETRIC.replace('head = "ridge"', 'head = "random"\ndim = 8').replace("held_out = 0.3\n", ""))
    assert said.count("skipped: ") >= 2 and "truncated" in said
    content = torch.load(folder / "out" / "last.pt", weights_only=True)
    # Twice each, in two epochs.
    assert content["training"]["progress"]["unreadable"] == 4


def test_too_many_damaged_photos_stop_the_run(folder):
    truncated(folder, 14)
    recipe = ASYMMETRIC.replace('head = "ridge"', 'head = "random"\ndim = 8').replace("held_out = 0.3\n", "")
    with pytest.raises(
        TrainingError, match=r"11 photos could not be read, the last: .* `askew check-photos --thorough`"
    ):
        run(folder, recipe)


def test_a_full_disk_keeps_the_last_good_checkpoint(folder, monkeypatch):
    run(folder, SYMMETRIC)
    good = (folder / "out" / "last.pt").read_bytes()
    content = torch.load(folder / "out" / "last.pt", weights_only=True)
    content["training"]["progress"].update(epoch=1, batch=0)
    torch.save(content, folder / "out" / "last.pt")
    good = (folder / "out" / "last.pt").read_bytes()

    flush, calls = os.fsync, []

    def full_after_a_while(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(files.os, "fsync", full_after_a_while)
    with pytest.raises(TrainingError, match=r"No space left on device.*make room, and go on with --resume"):
        run(folder, SYMMETRIC, "--resume")
    monkeypatch.undo()
    assert (folder / "out" / "last.pt").read_bytes() == good
    assert not list((folder / "out").glob(".*.part"))
    assert "12 steps" in run(folder, SYMMETRIC, "--resume")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("epochs = 2", "epochs = 2\nepoch = 2"), "it has a key that no recipe has, `run.epoch`"),
        (('weights = "random"\n', ""), 'a trunk needs `weights`: a file, a package, "timm" or "random", at `network`'),
        (("instances = 3\nunlabelled = 2", "photos = 8"), "the loss contrastive needs pairs"),
        (('references = "student"', 'references = "teacher"'), "this recipe learns from a teacher: add"),
        (("steps_each_epoch = 4\n", ""), "have no natural end: add `steps_each_epoch`"),
        (('folders = ["walls"]\n', ""), "needs to know what photos show: add `manifest`, `folders`"),
        (('head = "random"\ndim = 8', 'head = "random"'), 'a head of kind "random" needs `dim`'),
        (
            ('name = "contrastive"', 'name = "magic"'),
            "there is no loss 'magic', at `losses.0`: expected one of .*'contrastive'",
        ),
        (("learning_rate = 1e-3", "learning_rate = -1"), "optimiser.learning_rate"),
        (('photos = ["pool"]', 'photos = ["lake"]'), "`data.photos` names .*lake, and there is nothing"),
        (("[data]", "[data"), "is no TOML file"),
        (("instances = 3\nunlabelled = 2", "tuples = 3"), r"`tuples` in \[batches\] and the table \[mining\]"),
        (("instances = 3\nunlabelled = 2", "instances = 3\ntuples = 3"), "expected one of `photos`, `instances`"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_before_anything_is_loaded(folder, change, sentence):
    assert change[0] in SYMMETRIC
    with pytest.raises(RecipeError, match=sentence):
        run(folder, SYMMETRIC.replace(*change))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('head = "ridge"', 'head = "none"'), r"The network has \d+ dimensions and its teacher 8"),
        (('head = "ridge"', "projection = 8"), "have signs .* never negative.* below 0.71"),
    ],
)
def test_a_student_that_cannot_reach_its_teacher_is_refused(folder, change, sentence):
    with pytest.raises(RecipeError, match=sentence):
        run(folder, ASYMMETRIC.replace(*change))


def test_vectors_that_lack_photos_are_refused(folder):
    Image.fromarray(picture(80, 80)).save(folder / "pool" / "new.png")
    with pytest.raises(AskewError, match=r"lack 1 of \d+ photos, such as pool/new.png. .*askew cache"):
        run(folder, ASYMMETRIC)


def test_decoded_photos_may_be_kept(folder):
    run(folder, SYMMETRIC, output="plain")
    said = run(folder, SYMMETRIC.replace("[batches]", 'decoded = "decoded"\n[batches]'), output="kept")
    assert "Decoded photos are kept in" in said
    assert same(folder / "plain" / "last.pt", folder / "kept" / "last.pt")


def test_bfloat16_runs_on_a_cpu(folder):
    run(folder, SYMMETRIC.replace("[run]", '[run]\nprecision = "bf16"'))
    assert all(each.dtype != torch.bfloat16 for each in tensors(folder / "out" / "last.pt").values())
    assert all(np.isfinite(line["loss"]) for line in lines(folder / "out", "train"))


@pytest.mark.parametrize(
    ("loss", "photos", "sentence"),
    [
        ('name = "relational-distillation"', 1, "expected 3 or more in a batch, got 1"),
        ('name = "dark-rank"\nlength = 6', 6, "expected 7 or more in a batch, got 6"),
        ('name = "d3still"', 9, "expected 10 or more in a batch, got 9"),
    ],
)
def test_a_batch_that_is_too_small_for_a_loss_is_refused_before_the_first_epoch(folder, loss, photos, sentence):
    recipe = ASYMMETRIC.replace('name = "regression"', loss).replace("photos = 6", f"photos = {photos}")
    with pytest.raises(RecipeError, match=sentence):
        run(folder, recipe)
    assert not (folder / "out" / "log.jsonl").exists()


def test_tuples_of_photos_without_pairs_are_refused_before_the_first_epoch(folder):
    for instance in (folder / "walls").iterdir():
        for photo in sorted(instance.iterdir())[1:]:
            photo.unlink()
    with pytest.raises(DataError, match="two photos"):
        run(folder, MINED)
    assert not (folder / "out" / "log.jsonl").exists()
