"""The commands on tiny sets in the layout of the published ones."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from askew_training.cli.cache import cache
from askew_training.cli.check_photos import check_photos
from askew_training.cli.whiten import whiten
from askew_training.data.pairs import Split
from askew_training.data.sfm120k import read_sfm120k
from askew_training.errors import DataError
from askew_training.heads import learn_whitening_of_pairs
from askew_training.heads.pooled import describe_pooled
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights
from askew_training.vectors import TeacherVectors
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import SPACE, picture, run_command
from tests.training.published_sets import CIDS, TRAIN, VAL, both_splits, path_of


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, network: Network, teacher: Path) -> Path:
    """A teacher, weights of a trunk, and both sets with their images; one of each is damaged."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(teacher, folder / "teacher.onnx")
    torch.save(network.branches[0].trunk.features.state_dict(), folder / "weights.pth")
    (folder / "licences.toml").write_text('[licences]\nsfm120k = "research only"\n')
    for seed, cid in enumerate(CIDS):
        save(folder / "ims" / path_of(cid), seed)
    (folder / "ims" / path_of(TRAIN[7])).write_bytes(b"no photo")
    (folder / "sfm.pkl").write_bytes(pickle.dumps(both_splits(), 2))
    whitening = {"cids": CIDS, "qidxs": [0, 0, 2, 4, 7, 8, 10, 9], "pidxs": [1, 3, 1, 6, 5, 9, 11, 9]}
    (folder / "whiten.pkl").write_bytes(pickle.dumps(whitening, 2))
    images = ["abc1", "abd2", "xyz3"]
    for seed, image in enumerate(images):
        save(folder / "train" / image[0] / image[1] / image[2] / f"{image}.jpg", seed)
    (folder / "train_clean.csv").write_text("landmark_id,images\n5,abc1 abd2\n6,xyz3\n")
    return folder


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(picture(64, 80, seed)).save(stream, "JPEG")
    path.write_bytes(stream.getvalue())


def test_one_cache_holds_both_splits_by_cid(project: Path, tmp_path: Path) -> None:
    arguments = ("--sfm120k", project / "sfm.pkl", "--images", project / "ims")
    done = run_command(cache, project / "teacher.onnx", tmp_path / "out", *arguments)
    assert f"{TRAIN[7]}" in done.stderr.replace("\n", "")
    assert TeacherVectors.open(tmp_path / "out").ids == tuple(TRAIN[:7] + VAL)


def test_feature_files_of_both_splits_have_the_same_ids(project: Path, tmp_path: Path) -> None:
    read: list[Split] = ["train", "val"]
    splits = [read_sfm120k(project / "sfm.pkl", project / "ims", split) for split in read]
    ids = [photo.id for pairs in splits for photo in pairs.photos]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    np.save(tmp_path / "features.npy", np.eye(16, 12, dtype=np.float32))
    run_command(cache, tmp_path / "features.npy", tmp_path / "out", "--ids", tmp_path / "ids.txt", "--space", SPACE)
    vectors = TeacherVectors.open(tmp_path / "out")
    assert vectors.rows([vectors.index_of(VAL[0])]).argmax() == 8


def test_landmarks_are_cached_and_checked(project: Path, tmp_path: Path) -> None:
    arguments = ("--landmarks", project / "train_clean.csv", "--images", project / "train")
    assert run_command(cache, project / "teacher.onnx", tmp_path / "out", *arguments).exit_code == 0
    assert TeacherVectors.open(tmp_path / "out").ids == ("abc1", "abd2", "xyz3")
    assert run_command(check_photos, *arguments).stdout == (
        "3 usable photos: 2 in 1 instance(s) of two or more, 1 alone in their instance, 0 without a label\n"
    )
    sfm = run_command(check_photos, "--sfm120k", project / "sfm.pkl", "--images", project / "ims")
    assert sfm.stdout.startswith("11 usable photos: 11 in 4 instance(s) of two or more")
    assert f"cannot be read and are left out: {TRAIN[7]}" in sfm.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--sfm120k", "sfm.pkl"), "Expected --images"),
        (("--images", "ims"), "together with either"),
        (("--sfm120k", "sfm.pkl", "--landmarks", "train_clean.csv", "--images", "ims"), "with either"),
        (("--sfm120k", "sfm.pkl", "--images", "."), "None of the first 12 photos is in"),
    ],
)
def test_a_list_and_the_folder_of_its_images_belong_together(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(project)
    commands: list[tuple[Any, ...]] = [(cache, "teacher.onnx", tmp_path / "out"), (check_photos,)]
    for command in commands:
        with pytest.raises(DataError, match=sentence):
            run_command(*command, *arguments)
    assert not (tmp_path / "out").exists()


def test_a_whitening_is_learned_from_the_listed_pairs(project: Path, tmp_path: Path) -> None:
    run_command(
        whiten, tmp_path / "teacher.pt", "--trunk", TINY_TRUNK, "--weights", project / "weights.pth", "--method", "lw",
        "--whitening-pairs", project / "whiten.pkl", "--images", project / "ims", "--photo-size", 128, "--dim", 4,
        "--licences", project / "licences.toml", "--cache", tmp_path / "vectors",
    )  # fmt: skip
    checkpoint = load_checkpoint(tmp_path / "teacher.pt")
    assert "whitening to 4 of 6 pairs" in checkpoint.description.recipe
    assert [(source.name, source.photos) for source in checkpoint.description.data] == [("sfm120k", 11)]

    pooling = Network([Branch(trunk_with_weights(TINY_TRUNK, str(project / "weights.pth")))], None).eval()
    paths = [project / "ims" / path_of(cid) for cid in CIDS if cid != TRAIN[7]]
    described = describe_pooled(pooling, 128, paths, tmp_path / "vectors", lambda: None)
    vectors = np.stack([described.vectors[path] for path in paths])
    # Row 7 is damaged: those after it move up by one, and its pair is gone.
    queries, positives = np.array([0, 0, 2, 4, 7, 9]), np.array([1, 3, 1, 6, 8, 10])
    expected = learn_whitening_of_pairs(vectors, queries, positives, 4, 0.5)
    assert checkpoint.network.linear is not None
    np.testing.assert_allclose(checkpoint.network.linear.weight.detach().numpy(), expected.weight, rtol=1e-4, atol=1e-6)


def test_options_for_pairs_that_do_not_fit_are_refused(project: Path, tmp_path: Path) -> None:
    start = (tmp_path / "t.pt", "--trunk", TINY_TRUNK, "--weights", project / "weights.pth")
    pairs, images = ("--whitening-pairs", project / "whiten.pkl"), ("--images", project / "ims")
    for wrong in (
        (*pairs, *images),
        ("--method", "lw", *pairs),
        ("--method", "lw", *images),
        ("--method", "lw", *pairs, *images, "--photos", project),
    ):
        refused = run_command(whiten, *start, "--licences", project / "licences.toml", *wrong)
        assert refused.exit_code == 2, wrong
