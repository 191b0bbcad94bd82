"""Files that Askew 0.1 wrote are read by this version, and runs that it began are continued as it would have."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from askew_client import Encoder
from askew_training.cli.train import train
from askew_training.data.photo_sets import photos_in
from askew_training.data.store import PhotoStore
from askew_training.evaluate.report import manifest_metrics
from askew_training.export.encoder_file import EncoderCard, write_encoder
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.train.loop import Trainer
from askew_training.train.recipe import read_recipe
from askew_training.train.run import prepare
from askew_training.vectors import TeacherVectors
from askew_training.vectors.cache_job import CacheJob
from askew_training.vectors.descriptor_cache import DescriptorCache
from askew_training.vectors.manifest import Dtype
from tests.support import tiny_trunk
from tests.support.paths import TRAINING_FIXTURES
from tests.support.training_helpers import run_command
from tests.training.train.project import log_lines, tensors_of

assert tiny_trunk.TINY_TRUNK == "askew_tiny", "the checkpoints are of this trunk, which timm must know"

SPACE_AT_0_1 = json.loads((TRAINING_FIXTURES / "made_at_0.1" / "report.json").read_text())["space_id"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, as the working directory: the recipes of the runs have relative paths."""
    folder = tmp_path / "made"
    shutil.copytree(TRAINING_FIXTURES / "made_at_0.1", folder)
    monkeypatch.chdir(folder)
    return folder


def test_a_checkpoint_is_loaded_and_exported_to_the_same_vectors(made: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(made / "network.pt")
    assert checkpoint.space_id == SPACE_AT_0_1
    assert checkpoint.description.recipe.startswith("weights weights.pth; GeM p=3; PCA to 8 with power 0.5")
    old = Encoder(made / "teacher.onnx")
    card = EncoderCard("teacher", "1", "teacher", 128, tuple(old.manifest.scales), "fp32", "CC0", {})
    write_encoder(checkpoint, card, tmp_path / "teacher.onnx")
    new = Encoder(tmp_path / "teacher.onnx")
    paths = sorted((made / "pool").iterdir())
    np.testing.assert_allclose(new.encode(paths), old.encode(paths), atol=1e-4)
    assert new.manifest.model_copy(update={"golden": old.manifest.golden}) == old.manifest


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_an_encoder_file_is_opened_and_gives_its_golden_vectors(made: Path, name: str) -> None:
    encoder = Encoder(made / f"{name}.onnx")
    assert (encoder.manifest.role, encoder.space_id) == (name, SPACE_AT_0_1)
    assert max(encoder.check_golden().values()) < encoder.manifest.tolerance


def test_teacher_vectors_are_complete_and_need_no_describing(made: Path) -> None:
    vectors = TeacherVectors.open(made / "vectors", SPACE_AT_0_1)
    vectors.verify()
    photos = [*photos_in(Path("walls")), *photos_in(Path("pool"))]
    assert vectors.ids == tuple(photo.id for photo in photos)
    described = Encoder(made / "teacher.onnx").encode([photo.path for photo in photos])
    np.testing.assert_allclose(vectors.rows(range(len(photos))), described, atol=1e-3)
    job = CacheJob(Path("teacher.onnx"), photos, Path("vectors"), Dtype.f16)
    assert job.handled == job.total == len(photos)


def test_stopped_teacher_vectors_are_continued(made: Path) -> None:
    before = (made / "stopped" / "vectors.bin").read_bytes()
    job = CacheJob(
        Path("teacher.onnx"), [*photos_in(Path("walls")), *photos_in(Path("pool"))], Path("stopped"), Dtype.f32
    )
    assert job.handled == 9
    remaining: list[None] = []
    job.run(lambda: remaining.append(None))
    assert len(remaining) == job.total - 9
    assert (made / "stopped" / "vectors.bin").read_bytes().startswith(before)
    stopped, complete = TeacherVectors.open(made / "stopped"), TeacherVectors.open(made / "vectors")
    rows = range(len(complete))
    np.testing.assert_allclose(stopped.rows(rows), complete.rows(rows), atol=1e-3)


def test_a_descriptor_cache_is_used(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described again"))
    gallery = sorted(path for path in Path("walls").rglob("*.png") if int(path.stem) % 3)
    descriptors = DescriptorCache(Path("descriptors"), Path("teacher.onnx")).describe(gallery, lambda: None)
    assert list(descriptors.vectors) == gallery and not descriptors.unreadable


def test_decoded_photos_are_used(made: Path) -> None:
    paths = sorted((made / "pool").glob("*.png"))
    expected = [PhotoStore(paths, 48)[number] for number in range(len(paths))]
    (index,) = (made / "decoded").glob("*.index")
    # The store knows a photo by its absolute path, size and time. The photos get these, and become undecodable.
    index.write_text(index.read_text().replace("/made-at-0.1", str(made)))
    for name, size, modified, *_ in (json.loads(line) for line in index.read_text().splitlines() if line):
        Path(name).write_bytes(bytes(size))
        os.utime(name, ns=(modified, modified))
    store = PhotoStore(paths, 48, made / "decoded")
    for number, photo in enumerate(expected):
        assert np.array_equal(store[number], photo)


def test_a_report_is_read(made: Path) -> None:
    assert set(manifest_metrics([made / "report.json"])) >= {"asymmetric.walls.together.mAP", "asymmetric.queries"}


def relative_error(folder: Path) -> float:
    """How far the final tensors are from those that 0.1 computed, as a share of the way that was still to go."""
    start, end = tensors_of(TRAINING_FIXTURES / "made_at_0.1" / folder.name / "last.pt"), tensors_of(folder / "last.pt")
    with np.load(folder / "end.npz") as recorded:
        expected = {name: torch.from_numpy(recorded[name]) for name in recorded.files}
    assert end.keys() == expected.keys()
    floating = [name for name, tensor in expected.items() if tensor.is_floating_point()]
    error = sum(float((end[name] - expected[name]).square().sum()) for name in floating)
    way = sum(float((start[name] - expected[name]).square().sum()) for name in floating)
    return float((error / way) ** 0.5)


@pytest.mark.slow
def test_a_stopped_run_is_resumed_as_0_1_would_have(made: Path) -> None:
    run = made / "run-fp32"
    run_command(train, "fp32.toml", "run-fp32", "--cache", "pooled", "--threads", 1, "--resume")
    # On the machine that made the files the tensors are equal; elsewhere the order of additions may differ.
    assert relative_error(run) < 0.02
    expected = [json.loads(line) for line in (run / "whole-log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in expected if line["kind"] == "train"]
    np.testing.assert_allclose([line["loss"] for line in log_lines(run, "train")], losses, rtol=1e-2)
    epochs = [line["epoch"] for line in expected if line["kind"] == "mining"]
    assert [line["epoch"] for line in log_lines(run, "mining")] == epochs


@pytest.mark.slow
@pytest.mark.parametrize("has_fast_bf16", [False, True])
def test_a_stopped_run_in_bf16_is_resumed_and_a_change_of_precision_is_said(
    made: Path, has_fast_bf16: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made / "run-bf16"
    Trainer(prepare(read_recipe(Path("bf16.toml")), Path("pooled"), lambda _: None, has_fast_bf16), run, True).train()
    changed = "was computed in bf16 so far and continues in fp32" in " ".join(capsys.readouterr().err.split())
    assert changed != has_fast_bf16
    # bf16 rounds to three digits, so that even the same run differs a little from processor to processor.
    assert relative_error(run) < (0.1 if has_fast_bf16 else 0.5)
    assert torch.load(run / "last.pt", weights_only=True)["precision"] == ("bf16" if has_fast_bf16 else "fp32")
    assert [line["step"] for line in log_lines(run, "train")] == list(range(1, 10))
