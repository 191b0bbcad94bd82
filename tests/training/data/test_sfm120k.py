"""The lists of retrieval-SfM-120k."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from askew_training.data.sfm120k import read_sfm120k, read_whitening_pairs
from askew_training.errors import DataError
from tests.support.paths import TRAINING_FIXTURES
from tests.training.published_sets import CIDS, TRAIN, VAL, both_splits, listed_pairs, split_table


def dump(folder: Path, content: object) -> Path:
    (folder / "list.pkl").write_bytes(pickle.dumps(content, 2))
    return folder / "list.pkl"


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_list_that_python_2_and_numpy_1_wrote_is_read(protocol: int) -> None:
    file = TRAINING_FIXTURES / f"sfm120k_python2_protocol{protocol}.pkl"
    train, val = read_sfm120k(file, Path("ims"), "train"), read_sfm120k(file, Path("ims"), "val")
    assert [photo.instance_id for photo in train.photos] == ["200", "200", "200", "7", "7"]
    assert train.photos[1].id == "9e3779b97f4a7c15f39cc0605cedc834"
    assert listed_pairs(train) == ([0, 1, 3, 2], [1, 2, 4, 0])
    assert [photo.instance_id for photo in val.photos] == ["9", "9", "9"]
    assert listed_pairs(val) == ([0], [2])


def test_photos_pairs_and_paths_are_those_of_the_published_list(tmp_path: Path) -> None:
    content = both_splits(
        cluster=[np.int64(each) for each in split_table()["cluster"]], qidxs=np.array(split_table()["qidxs"])
    )
    pairs = read_sfm120k(dump(tmp_path, content), Path("ims"), "train")
    assert [photo.id for photo in pairs.photos] == TRAIN
    assert [photo.instance_id for photo in pairs.photos] == ["1", "1", "1", "1", "2", "2", "2", "3"]
    assert {(photo.role, photo.set_name) for photo in pairs.photos} == {("train", "sfm120k")}
    cid = "3c6ef372fe94f82be73980c0b9db9068"
    assert pairs.photos[1].path == Path("ims/68/90/db") / cid
    assert pairs.queries.dtype == np.int64
    assert listed_pairs(pairs) == ([0, 0, 2, 4], [1, 3, 1, 6])
    val = read_sfm120k(tmp_path / "list.pkl", Path("ims"), "val")
    assert [photo.id for photo in val.photos] == VAL


def test_pairs_for_whitening_have_no_clusters(tmp_path: Path) -> None:
    content = {"cids": np.array(CIDS), "qidxs": [0, 5, 5, 11], "pidxs": [3, 4, 5, 0]}
    pairs = read_whitening_pairs(dump(tmp_path, content), Path("ims"))
    assert [photo.id for photo in pairs.photos] == CIDS
    assert {photo.instance_id for photo in pairs.photos} == {""}
    assert listed_pairs(pairs) == ([0, 5, 11], [3, 4, 0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cids": TRAIN[:-1]}, "expected a cluster for each of 7 cids, got 8"),
        ({"qidxs": [0, 1]}, "expected as many pidxs as qidxs, got 5 and 2"),
        ({"pidxs": [1, 3, 1, 6, 8]}, "expected `pidxs` from 0 to 7, got 8"),
        ({"qidxs": [0, -1, 2, 4, 5]}, "expected `qidxs` from 0 to 7, got -1"),
        ({"qidxs": [0.0] * 5}, "expected integers as `qidxs`"),
        ({"qidxs": [2**70] * 5}, "expected integers as `qidxs`"),
        ({"qidxs": 5}, "expected a list as `qidxs`"),
        ({"qidxs": [[0, 1], [2]]}, "expected a list as `qidxs`"),
        ({"qidxs": [[0, 1, 2, 3, 4]]}, "expected a list as `qidxs`"),
        ({"cluster": ["1"] * 8}, "expected integers as `cluster`"),
        ({"cids": list(range(8))}, "expected texts as `cids`"),
        ({"cids": [*TRAIN[:-1], "abc"]}, "expected cids of six letters and digits or more, got 'abc'"),
        ({"cids": [*TRAIN[:-1], "../../../../secret"]}, r"expected cids of six letters and digits or more, got '\.\./"),
    ],
)
def test_another_layout_is_refused_with_a_sentence(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError, match=rf"list\.pkl: {sentence}"):
        read_sfm120k(dump(tmp_path, both_splits(**changes)), tmp_path, "train")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    without = {key: value for key, value in split_table().items() if key != "pidxs"}
    with pytest.raises(DataError, match=r"has no `pidxs`\. It holds: cids, cluster, qidxs"):
        read_whitening_pairs(dump(tmp_path, without), tmp_path)
    wrong: list[object] = [[], split_table(), {"train": None}]
    for content in wrong:
        with pytest.raises(DataError, match="has no split 'train'"):
            read_sfm120k(dump(tmp_path, content), tmp_path, "train")
    with pytest.raises(DataError, match="does not hold a dict"):
        read_whitening_pairs(dump(tmp_path, [1]), tmp_path)
