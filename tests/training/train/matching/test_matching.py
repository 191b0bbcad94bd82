"""`askew train` with a teacher that describes what the student sees."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from askew_training.errors import RecipeError
from askew_training.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from askew_training.train.matching.showing import at_the_students_ratio
from askew_training.train.matching.stored import StoredViews
from askew_training.train.matching.teachers import open_teacher
from askew_training.train.recipe import read_recipe
from askew_training.train.run import prepare
from tests.support.tiny_trunk import TINY_TRUNK
from tests.training.train.interruption import stop_and_resume
from tests.training.train.project import ASYMMETRIC, SYMMETRIC, have_equal_tensors, log_lines, run_recipe, tensors_of

ONLINE = (
    ASYMMETRIC.replace('vectors = "vectors"', 'encoder = "teacher.pt"')
    .replace("colour = 0.2", "colour = 0.2\nmix = 0.5")
    .replace("photo_size = 96\nphotos", "photo_size = [96, 112]\nphotos")
)
STORED = ONLINE.replace('encoder = "teacher.pt"', 'encoder = "teacher.pt"\nviews = 2')
BY_LABEL = (
    SYMMETRIC.replace("tiny-teacher", "tiny-both")
    .replace('head = "random"\ndim = 8', 'head = "ridge"')
    .replace("[data]", '[teacher]\nencoder = "teacher.pt"\n[data]')
    .replace(
        'references = "student"\nform = "similarity"\nmargin = 0.3',
        'references = "teacher"\nactive_negatives = 0.4\non = "labelled"',
    )
    .replace("[optimiser]", '[[losses]]\nname = "regression"\non = "unlabelled"\n[optimiser]')
    .replace("save_each_steps = 1", "save_each_steps = 1\ngradient_norms_each_steps = 2")
)


@pytest.mark.slow
def test_a_student_that_is_its_teacher_has_nothing_to_learn(folder: Path) -> None:
    """The teacher sees the very pixels that the student sees: crop, colour, partner and share."""
    same = STORED.replace(
        f'trunk = "{TINY_TRUNK}"\nweights = "random"\nhead = "ridge"', 'checkpoint = "teacher.pt"\nhead = "kept"'
    )
    # Read at the teacher's 128 px, and shown to both at it.
    same = same.replace("photo_size = [96, 112]", "photo_size = 128").replace("epochs = 2", "epochs = 1")
    for kind, recipe in (("online", same.replace("views = 2\n", "")), ("stored", same)):
        (folder / "recipe.toml").write_text(recipe.replace("learning_rate = 1e-3", "learning_rate = 1e-9"))
        run_recipe(folder, (folder / "recipe.toml").read_text(), output=kind)
        losses = [line["loss"] for line in log_lines(folder / kind, "train")]
        assert max(losses) < 1e-4, kind
    # Control: its vectors of whole photos are not those of the views.
    whole = same.replace('encoder = "teacher.pt"\nviews = 2', 'checkpoint = "teacher.pt"').replace("mix = 0.5", "")
    run_recipe(folder, whole, output="whole")
    assert min(line["loss"] for line in log_lines(folder / "whole", "train")) > 1e-3


@pytest.mark.slow
def test_views_are_described_once_and_the_run_ends_with_the_same_network(folder: Path) -> None:
    said = run_recipe(folder, STORED)
    # 30 photos are trained on, and each has two views; whole photos are described for the validation and the head.
    assert "views of photos into" in said
    (stated,) = (folder / "cache" / "teacher-views").glob("*/views.json")
    facts = json.loads(stated.read_text())
    assert (facts["views"], facts["seed"], facts["mix"]) == (2, 0, 0.5)
    again = run_recipe(folder, STORED, output="again")
    assert "views of photos into" not in again
    assert have_equal_tensors(folder / "out" / "last.pt", folder / "again" / "last.pt")
    validations = log_lines(folder / "out", "validation")
    assert all(line.keys() >= {"mean_cosine", "self_recall", "recall_at_10"} for line in validations)
    # A few steps from random weights lead nowhere, and the run says what a server would say.
    assert abs(validations[-1]["mean_cosine"]) < 0.25
    assert "after 2 epochs: mean_cosine is " in said and "admission to a gallery needs 0.25" in said
    assert load_checkpoint(folder / "out" / "last.pt").space_id == load_checkpoint(folder / "teacher.pt").space_id


def test_held_out_photos_are_seen_at_the_ratio_of_training(folder: Path) -> None:
    (folder / "recipe.toml").write_text(ONLINE.replace("[96, 112]", "96"))
    matched = read_recipe(folder / "recipe.toml")
    assert at_the_students_ratio(matched, 128).batches.shrink == 0.75
    (folder / "recipe.toml").write_text(ASYMMETRIC.replace('vectors = "vectors"', 'checkpoint = "teacher.pt"'))
    whole = read_recipe(folder / "recipe.toml")
    assert at_the_students_ratio(whole, 128) == whole


@pytest.mark.slow
def test_a_start_that_was_interrupted_continues_with_the_same_vectors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "recipe.toml").write_text(STORED)
    recipe = read_recipe(folder / "recipe.toml")

    def stored(cache: str) -> StoredViews:
        found = prepare(recipe, folder / cache, lambda _: None).stored_views
        assert found is not None
        return found

    monkeypatch.setattr("askew_training.train.matching.stored.PHOTOS_AT_ONCE", 8)
    whole = stored("whole")
    monkeypatch.setattr("askew_training.train.matching.stored.SAVED_EVERY", 0.0)
    describe, calls = open_teacher(folder / "teacher.pt", None).on, []

    class Stops(Exception):
        pass

    def stopping(self: object, *arguments: object) -> object:
        inner = describe(*arguments)  # type: ignore[arg-type]

        def once(batch: object) -> torch.Tensor:
            calls.append(batch)
            if len(calls) == 3:
                raise Stops
            return inner(batch)  # type: ignore[arg-type]

        return once

    with monkeypatch.context() as patch:
        patch.setattr("askew_training.train.matching.teachers.NetworkTeacher.on", stopping)
        with pytest.raises(Stops):
            stored("stopped")
    with next((folder / "stopped" / "teacher-views").glob("*/vectors.bin")).open("ab") as stream:
        stream.write(b"half a row")
    continued = stored("stopped")
    assert continued.vectors.manifest.digest == whole.vectors.manifest.digest
    assert (continued.rows == whole.rows).all() and (whole.rows >= 0).all()


@pytest.mark.slow
def test_a_killed_run_sees_the_same_views_when_it_is_resumed(folder: Path) -> None:
    stop_and_resume(folder, ONLINE, signal.SIGKILL, 5)


@pytest.mark.slow
def test_labelled_photos_learn_by_pairs_and_unlabelled_ones_by_matching_in_one_run(folder: Path) -> None:
    said = run_recipe(folder, BY_LABEL)
    assert "contrastive: margin " in said and "at which 40 % of the negatives are active" in said
    steps = log_lines(folder / "out", "train")
    assert all({"contrastive_on_teacher_of_labelled", "regression_of_unlabelled"} <= line.keys() for line in steps)
    measured = [line["step"] for line in steps if "gradient_norm_regression_of_unlabelled" in line]
    assert measured == [1, 3, 5, 7]


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["re-estimated", "trained"])
def test_statistics_of_normalisation_can_move(folder: Path, statistics: str) -> None:
    recipe = ONLINE.replace("photos = 6", "photos = 16").replace(
        'head = "ridge"', f'head = "ridge"\nstatistics = "{statistics}"'
    )
    run_recipe(folder, recipe)
    frozen = run_recipe(folder, recipe.replace(statistics, "frozen"), output="frozen")
    assert "estimated again" not in frozen
    moved, kept = tensors_of(folder / "out" / "last.pt"), tensors_of(folder / "frozen" / "last.pt")
    running = [name for name in moved if "running_" in name]
    assert running and all(not torch.equal(moved[name], kept[name]) for name in running)
    assert all(bool(torch.isfinite(moved[name]).all()) for name in running)


@pytest.mark.slow
def test_an_encoder_file_teaches_as_its_checkpoint_does(folder: Path) -> None:
    one_epoch = ONLINE.replace("epochs = 2", "epochs = 1").replace("[96, 112]", "96")
    run_recipe(folder, one_epoch, output="checkpoint")
    run_recipe(folder, one_epoch.replace("teacher.pt", "teacher.onnx"), output="encoder")
    first, second = (log_lines(folder / name, "train") for name in ("checkpoint", "encoder"))
    for one, other in zip(first, second, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-3)


@pytest.mark.slow
def test_a_network_in_a_space_that_it_was_given_teaches(folder: Path) -> None:
    """A student, or a checkpoint that was made of an encoder file."""
    teacher = load_checkpoint(folder / "teacher.pt")
    given = teacher.description.model_copy(update={"teacher_space": teacher.space_id})
    save_checkpoint(folder / "teacher.pt", Checkpoint(teacher.network, given))
    run_recipe(folder, ONLINE.replace("epochs = 2", "epochs = 1"))
    assert load_checkpoint(folder / "out" / "last.pt").space_id == teacher.space_id


@pytest.mark.slow
def test_a_photo_that_the_teacher_cannot_read_is_left_out(folder: Path) -> None:
    path = folder / "walls" / "wall0" / "1.jpg"
    # Its header is intact.
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = run_recipe(folder, STORED.replace("epochs = 2", "epochs = 1"))
    assert "skipped: " in said and "1.jpg" in said


def test_what_cannot_work_is_refused_before_the_first_step(folder: Path) -> None:
    shutil.copytree(folder, folder / "other")
    for recipe, sentence in (
        (
            ASYMMETRIC.replace('vectors = "vectors"', "views = 3"),
            "expected `vectors`, made by `askew cache`, a `checkpoint`",
        ),
        (ONLINE.replace('encoder = "teacher.pt"', 'checkpoint = "teacher.pt"'), "no vector of two mixed views"),
        (STORED.replace("[96, 112]", "[96, 96]"), "a list of different ones"),
        (BY_LABEL.replace("unlabelled = 2\n", ""), "add `unlabelled` photos"),
        (BY_LABEL.replace("active_negatives = 0.4", "active_negatives = 0.4\nmargin = 1.0"), "either `margin`"),
        (
            ONLINE.replace("teacher.pt", "retrievalSfM120k-resnet101-gem-b80fb85.pth"),
            r"published at http://\S+/retrieval-SfM-120k/retrievalSfM120k-resnet101-gem-b80fb85\.pth: fetch it",
        ),
        (
            ONLINE.replace('head = "ridge"', 'head = "ridge"\nstatistics = "trained"'),
            "statistics of 6 photos are noise",
        ),
    ):
        with pytest.raises(RecipeError, match=sentence):
            run_recipe(folder, recipe)
    assert not (folder / "out" / "log.jsonl").exists()
