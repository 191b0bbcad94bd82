"""The lists of Google Landmarks v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.data.landmarks import read_landmarks
from askew_training.errors import DataError

SIZES = {17: 12, 4: 1, 170: 5, 9: 21}


HELD = [
    "0170000000000007", "0170000000000001", "0040000000000000", "1700000000000001",
    "0090000000000004", "0090000000000010", "009000000000000e", "009000000000000b",
]  # fmt: skip
"""What the published code (DELF's build_image_dataset.py, seed 0, a share of 0.2) holds out of these."""


def images_of(landmark: int) -> list[str]:
    return [f"{landmark:03}{number:013x}" for number in range(SIZES[landmark])]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    lines = [f"{landmark},{' '.join(images_of(landmark))}\n" for landmark in SIZES]
    (tmp_path / "train_clean.csv").write_text("landmark_id,images\n" + "".join(lines))
    return tmp_path / "train_clean.csv"


def test_both_lists_of_landmarks_are_read(clean: Path, tmp_path: Path) -> None:
    pairs = read_landmarks(clean, Path("train"), None)
    assert [photo.id for photo in pairs.photos] == [image for landmark in SIZES for image in images_of(landmark)]
    assert [photo.instance_id for photo in pairs.photos][11:14] == ["17", "4", "170"]
    assert pairs.photos[0].path == Path("train/0/1/7/0170000000000000.jpg")
    assert {(photo.role, photo.set_name) for photo in pairs.photos} == {("train", "gldv2")}
    assert len(pairs.queries) == 12 + 5 + 21
    rows = [
        f'{image},"https://upload.example/a,b.jpg",{landmark}\n' for landmark in SIZES for image in images_of(landmark)
    ]
    (tmp_path / "train.csv").write_text('"id","url","landmark_id"\n' + "".join(rows))
    assert read_landmarks(tmp_path / "train.csv", Path("train"), None).photos == pairs.photos


def test_the_split_is_the_published_one(clean: Path) -> None:
    train, val = (read_landmarks(clean, Path("train"), split) for split in ("train", "val"))
    assert {photo.id for photo in val.photos} == set(HELD)
    everything = read_landmarks(clean, Path("train"), None).photos
    assert train.photos == tuple(photo for photo in everything if photo.id not in HELD)
    assert {photo.instance_id for photo in train.photos} == {"17", "170", "9"}


def test_a_line_may_have_ten_thousand_photos(tmp_path: Path) -> None:
    images = " ".join(f"{number:016x}" for number in range(10_000))
    (tmp_path / "train_clean.csv").write_text(f"landmark_id,images\n138982,{images}\n")
    assert len(read_landmarks(tmp_path / "train_clean.csv", tmp_path, "val").photos) == 2000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "starts with ''"),
        ("image,label\n", "starts with 'image,label'"),
        ("landmark_id,images\n", "lists no image"),
        ("landmark_id,images\n7,abc1 abc2\n8,\n", "line 3: expected a landmark and images, got '8', ''"),
        ("landmark_id,images\n7\n", "line 2: expected a landmark and images, got '7', ''"),
        ("landmark_id,images\ntower,abc1\n", "line 2: expected a landmark and images, got 'tower', 'abc1'"),
        ("landmark_id,images\n7,abc1 ../x\n", r"line 2: expected a landmark and images, got '7', '\.\./x'"),
        ("landmark_id,images\n7,abc1 abc2\n8,abc1\n", "line 3: the image abc1 was listed before"),
        ("id,url,landmark_id\nabc1,http://x\n", "line 2: expected 3 values, id, url, landmark_id"),
        ("id,url,landmark_id\nabc1,http://x,\n", "line 2: expected a landmark and images, got '', 'abc1'"),
        ("landmark_id,images\n7,ab\udcff\n", "is not a CSV file in UTF-8"),
    ],
)
def test_another_layout_is_refused_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "train.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=rf"train\.csv,? {sentence}"):
        read_landmarks(tmp_path / "train.csv", tmp_path, None)


def test_a_missing_list_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_landmarks(tmp_path / "train.csv", tmp_path, None)
