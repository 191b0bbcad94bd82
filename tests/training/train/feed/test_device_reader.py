"""Batches as a GPU gets them, on the CPU."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from askew_training.train.feed import choice
from askew_training.train.loop import Trainer
from askew_training.train.reader import LoadedBatch, PhotoReader
from askew_training.train.recipe import read_recipe
from askew_training.train.run import Run, prepare
from askew_training.train.tuples import TupleMiner
from tests.training.train.project import ASYMMETRIC, SYMMETRIC, log_lines

CPU = torch.device("cpu")


def run_of(folder: Path, recipe: str, on_gpu: bool = True) -> Run:
    (folder / "recipe.toml").write_text(recipe)
    return prepare(read_recipe(folder / "recipe.toml"), folder / "cache", lambda _: None, on_gpu=on_gpu)


def batches_of(run: Run, reader: PhotoReader, epoch: int) -> list[LoadedBatch]:
    assert not isinstance(run.source, TupleMiner)
    return list(reader.read(run.source.epoch(epoch), epoch))


@pytest.mark.slow
def test_photos_that_stay_in_memory_and_photos_that_are_read_give_the_same_views(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(folder, SYMMETRIC)
    held = batches_of(run, choice.make_reader(run, CPU, 2), 0)
    monkeypatch.setattr(choice, "budget_of", lambda device: 0)
    read = batches_of(run, choice.make_reader(run, CPU, 2), 0)
    exact = batches_of(run, PhotoReader(run.training.store, run.training.shapes, run.augmentation), 0)
    for one, other, third in zip(held, read, exact, strict=True):
        assert len(one.groups) == 1 and one.groups[0][0].shape[1:3] in run.training.allowed
        assert torch.equal(one.groups[0][0], other.groups[0][0])
        assert torch.equal(one.photos, third.photos) and torch.equal(one.draws, other.draws)
    again = batches_of(run, choice.make_reader(run, CPU, 1), 0)
    assert all(torch.equal(a.groups[0][0], b.groups[0][0]) for a, b in zip(read, again, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("is_held", [True, False])
def test_photos_that_cannot_be_read_are_left_out_and_told(
    folder: Path, is_held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(iter(sorted((folder / "pool").iterdir())))
    run = run_of(folder, SYMMETRIC)
    bad = next(index for index, photo in enumerate(run.training.photos) if photo.path == path or "wall" in photo.id)
    damaged = run.training.photos[bad].path
    damaged.write_bytes(damaged.read_bytes()[:400])
    if not is_held:
        monkeypatch.setattr(choice, "budget_of", lambda device: 0)
    batches = batches_of(run, choice.make_reader(run, CPU, 1), 0)
    assert sum(len(batch.unreadable) for batch in batches) >= 1
    assert all(str(damaged) in sentence for batch in batches for sentence in batch.unreadable)
    for batch in batches:
        assert bad not in batch.photos.tolist()
        assert sum(len(places) for _, places in batch.groups) == len(batch.photos) == len(batch.draws)


@pytest.mark.slow
def test_the_shapes_of_all_batches_are_prepared(folder: Path) -> None:
    for recipe in (SYMMETRIC, ASYMMETRIC):
        run = run_of(folder, recipe)
        prepared = choice.shapes_to_prepare(run)
        reader = choice.make_reader(run, CPU, 1)
        for epoch in range(3):
            seen = {tuple(pixels.shape[1:3]) for each in batches_of(run, reader, epoch) for pixels, _ in each.groups}
            assert seen <= set(prepared)
        assert len(set(prepared)) <= 7


@pytest.mark.slow
def test_a_run_whose_batches_are_made_for_a_gpu_learns(folder: Path) -> None:
    run = run_of(folder, ASYMMETRIC.replace("epochs = 2", "epochs = 4"))
    (folder / "out").mkdir()
    before = set(multiprocessing.active_children())
    Trainer(run, folder / "out", resume=False, readers=1).train()
    # No process is left that reads: they ignore SIGTERM, and the end of the program would wait for them for ever.
    assert set(multiprocessing.active_children()) <= before
    losses = [line["loss"] for line in log_lines(folder / "out", "train")]
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize(
    ("cores", "on_gpu", "readers"), [(1, True, 1), (16, True, 14), (64, True, 16), (2, False, 1), (32, False, 4)]
)
def test_processes_that_read_are_chosen_by_the_cores(cores: int, on_gpu: bool, readers: int) -> None:
    assert choice.reader_count(cores, on_gpu) == readers
