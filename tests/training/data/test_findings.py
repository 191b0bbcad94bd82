"""Checking photos before the first epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.data.findings import Findings, check_photos
from askew_training.data.photo_sets import (
    Photo,
)
from askew_training.errors import DataError
from tests.training.photo_files import photo, save_photo, sound_photos


def check(photos: list[Photo], labelled: bool = True, thorough: bool = False) -> Findings:
    return check_photos(photos, labelled=labelled, thorough=thorough)


@pytest.fixture
def walls(tmp_path: Path) -> list[Photo]:
    return sound_photos(tmp_path)


def test_sound_photos_give_no_warning(walls: list[Photo]) -> None:
    calls: list[None] = []
    found = check_photos(walls, labelled=True, on_photo=lambda: calls.append(None))
    assert found == Findings(usable=tuple(walls), instances=2, singles=0, unlabelled=1, left_out=(), warnings=())
    assert len(calls) == 5
    assert found.summary() == (
        "5 usable photos: 4 in 2 instance(s) of two or more, 0 alone in their instance, 1 without a label"
    )


def test_two_photos_with_one_id_are_refused(walls: list[Photo]) -> None:
    with pytest.raises(DataError, match=r"2 photo id\(s\) occur more than once: 1\.png, 5\.png\."):
        check([*walls, walls[0], walls[4]])


def test_missing_photos_are_left_out_and_the_first_ones_named(walls: list[Photo], tmp_path: Path) -> None:
    absent = [photo(f"absent {number}.jpg", "tower", tmp_path) for number in range(5)]
    found = check(walls + absent)
    assert found.usable == tuple(walls)
    (warning,) = found.warnings
    assert warning.startswith(
        "5 photo(s) are missing and are left out: absent 0.jpg, absent 1.jpg, absent 2.jpg, and 2"
    )
    assert (found.intake.taken, found.intake.count("skipped"), found.intake.exit_code) == (len(walls), 5, 3)


def test_unreadable_photos_are_left_out(walls: list[Photo], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "folder.jpg").mkdir()
    found = check([photo("text.jpg", "tower", tmp_path), *walls, photo("folder.jpg", "", tmp_path)])
    assert found.usable == tuple(walls)
    (warning,) = found.warnings
    assert warning.startswith("2 photo(s) cannot be read and are left out: text.jpg, folder.jpg. ")
    assert f"{tmp_path}/text.jpg" in warning
    assert [path in sentence for path, sentence in zip(("text.jpg", "folder.jpg"), found.left_out, strict=True)] == [
        True,
        True,
    ]


def test_only_the_thorough_check_finds_a_truncated_jpeg(walls: list[Photo], tmp_path: Path) -> None:
    whole = save_photo(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    half = photo("half.jpg", "tower", tmp_path)
    assert check([*walls, half]).usable == (*walls, half)
    found = check([*walls, half], thorough=True)
    assert found.usable == tuple(walls)
    assert "half.jpg" in found.warnings[0]


def test_photos_with_a_short_side_are_left_out(walls: list[Photo], tmp_path: Path) -> None:
    save_photo(tmp_path / "thin.png", size=(200, 31))
    save_photo(tmp_path / "just.png", size=(32, 200))
    found = check([*walls, photo("thin.png", "tower", tmp_path), photo("just.png", "tower", tmp_path)])
    assert [photo.id for photo in found.usable][-1] == "just.png"
    assert found.warnings == ("1 photo(s) have a side under 32 px and are left out: thin.png.",)
    assert found.left_out[0].endswith("thin.png has 200 × 31 px; its shorter side must have 32 px or more.")


def test_a_file_listed_twice_is_named(walls: list[Photo], tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "1.png")
    found = check([*walls, photo("link.png", "tower", tmp_path)])
    assert found.warnings == ("1 file(s) are listed twice: 1.png = link.png.",)
    assert len(found.usable) == 6


def test_equal_files_of_two_instances_are_named_and_of_one_are_not(walls: list[Photo], tmp_path: Path) -> None:
    for name in ("copy.png", "other.png", "unlabelled.png"):
        (tmp_path / name).write_bytes((tmp_path / "1.png").read_bytes())
    labels = {"copy.png": "tower", "other.png": "bridge", "unlabelled.png": ""}
    found = check([*walls, *(photo(name, label, tmp_path) for name, label in labels.items())])
    assert found.warnings == (
        "1 photo(s) are equal to one of another instance, byte by byte: 1.png (tower) = other.png (bridge). "
        "Check the labels.",
    )


def test_an_instance_of_two_sets_is_named(walls: list[Photo], tmp_path: Path) -> None:
    other = Photo(save_photo(tmp_path / "6.png", 6), "tower", "train", "", "elsewhere", "6.png")
    (warning,) = check([*walls, other]).warnings
    assert "count as one instance: tower (in elsewhere, walls)" in warning


def test_photos_alone_in_their_instance_are_warned_of_if_labels_are_needed(walls: list[Photo], tmp_path: Path) -> None:
    alone = photo(save_photo(tmp_path / "6.png", 6).name, "arch", tmp_path)
    found = check([*walls, alone])
    assert (found.singles, found.instances) == (1, 2)
    assert found.warnings == ("1 photo(s) are alone in their instance, and can only be negatives: 6.png.",)
    assert check([*walls, alone], labelled=False).warnings == ()


def test_too_few_photos_to_learn_from_are_refused(walls: list[Photo], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 photos show 2 instances, each only once"):
        check(walls[1:3] + walls[4:])
    assert check(walls[1:3] + walls[4:], labelled=False).instances == 0
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(DataError, match=r"None of 1 photos can be used\. The first: .*text\.jpg"):
        check([photo("text.jpg", "", tmp_path)], labelled=False)
    with pytest.raises(DataError, match="the list is empty"):
        check([], labelled=False)
