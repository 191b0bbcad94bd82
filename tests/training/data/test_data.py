from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from askew_training.cli import check_photos as command
from askew_training.data.findings import Findings, check_photos
from askew_training.data.photo_sets import (
    Photo,
    hold_out,
    labelled_folder,
    photos_in,
    read_manifest,
    training_photos,
)
from askew_training.errors import DataError

HEADER = "path,instance_id,role,benchmark,set\n"
INSTANCES = st.lists(st.text(string.ascii_letters, max_size=3), max_size=30)


def save(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def photo(name: str, instance_id: str = "", folder: Path = Path()) -> Photo:
    return Photo(folder / name, instance_id, "train", "", "walls", name)


def test_a_manifest_names_its_photos_by_the_paths_that_it_states(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(HEADER + "a/1.jpg,tower,train,,walls\n./b.jpg,,gallery,objects,walls\n")
    photos = read_manifest(tmp_path / "m.csv")
    assert [photo.id for photo in photos] == ["a/1.jpg", "b.jpg"]
    assert photos[0].path == tmp_path / "a/1.jpg"


def test_unlabelled_photos_are_named_by_their_folder(tmp_path: Path) -> None:
    for name in ("z.png", "inner/a.JPG", "inner/deep/b.webp"):
        save(tmp_path / "pool" / name)
    (tmp_path / "pool" / "notes.txt").write_text("no photo")
    photos = photos_in(tmp_path / "pool")
    assert [photo.id for photo in photos] == ["pool/inner/a.JPG", "pool/inner/deep/b.webp", "pool/z.png"]
    assert {photo.instance_id for photo in photos} == {""}


def test_a_folder_of_folders_makes_an_instance_of_each(tmp_path: Path) -> None:
    for name in ("tower/1.png", "tower/winter/2.png", "bridge/1.png"):
        save(tmp_path / "town" / name)
    photos = labelled_folder(tmp_path / "town")
    assert [(photo.id, photo.instance_id) for photo in photos] == [
        ("town/bridge/1.png", "bridge"),
        ("town/tower/1.png", "tower"),
        ("town/tower/winter/2.png", "tower"),
    ]
    assert {(photo.role, photo.set_name) for photo in photos} == {("train", "town")}


def test_a_loose_photo_in_a_folder_of_folders_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "tower" / "1.png")
    save(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"itself holds 1 photo\(s\), such as loose\.png"):
        labelled_folder(tmp_path)


@pytest.mark.parametrize("read", [photos_in, labelled_folder])
def test_a_folder_without_photos_is_refused(tmp_path: Path, read) -> None:
    with pytest.raises(DataError, match="holds no photo"):
        read(tmp_path)
    with pytest.raises(DataError, match="is none"):
        read(tmp_path / "absent")


def test_photos_to_learn_from_come_from_all_three(tmp_path: Path) -> None:
    save(tmp_path / "pool" / "1.png")
    save(tmp_path / "town" / "tower" / "1.png")
    (tmp_path / "m.csv").write_text(HEADER + "a.jpg,tower,train,,walls\nb.jpg,,gallery,objects,walls\n")
    photos = training_photos(tmp_path / "m.csv", [tmp_path / "pool"], [tmp_path / "town"])
    assert [photo.id for photo in photos] == ["a.jpg", "pool/1.png", "town/tower/1.png"]
    with pytest.raises(DataError, match="no photos to learn from"):
        training_photos(None, [])


@given(instances=INSTANCES, share=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_held_out_photos_share_no_instance_with_the_others(instances: list[str], share: float, seed: int) -> None:
    photos = [photo(f"{number}.jpg", instance) for number, instance in enumerate(instances)]
    kept, held = hold_out(photos, share, seed)
    assert sorted(kept + held, key=photos.index) == photos
    assert not {photo.instance_id for photo in kept} & {photo.instance_id for photo in held}
    assert all(photo.instance_id for photo in held)


@given(instances=INSTANCES, more=INSTANCES, seed=st.integers(0, 9))
def test_an_instance_stays_where_it_is_when_others_come(instances: list[str], more: list[str], seed: int) -> None:
    _, held = hold_out([photo("1.jpg", instance) for instance in instances], 0.5, seed)
    _, held_of_more = hold_out([photo("1.jpg", instance) for instance in [*more, *instances]], 0.5, seed)
    held_ids = {photo.instance_id for photo in held_of_more} & set(instances)
    assert held_ids == {photo.instance_id for photo in held}


def test_about_the_stated_share_is_held_out_and_another_seed_holds_out_others() -> None:
    photos = [photo(f"{number}.jpg", f"instance {number}") for number in range(4000)]
    held = {photo.id for photo in hold_out(photos, 0.25, seed=1)[1]}
    others = {photo.id for photo in hold_out(photos, 0.25, seed=2)[1]}
    assert len(held) / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(held & others) / 4000 == pytest.approx(0.25**2, abs=0.03)
    assert hold_out(photos, 0, seed=1)[1] == []


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="from 0 to below 1"):
        hold_out([], share, seed=0)


# Checking photos before the first epoch


def check(photos: list[Photo], labelled: bool = True, thorough: bool = False) -> Findings:
    return check_photos(photos, labelled=labelled, thorough=thorough)


@pytest.fixture
def walls(tmp_path: Path) -> list[Photo]:
    """Five sound photos: two of a tower, two of a bridge, one without a label."""
    labels = {"1.png": "tower", "2.png": "tower", "3.jpg": "bridge", "4.webp": "bridge", "5.png": ""}
    for seed, name in enumerate(labels):
        save(tmp_path / name, seed)
    return [photo(name, label, tmp_path) for name, label in labels.items()]


def test_sound_photos_give_no_warning(walls: list[Photo]) -> None:
    calls: list[None] = []
    found = check_photos(walls, labelled=True, on_photo=lambda: calls.append(None))
    assert found == Findings(usable=tuple(walls), instances=2, singles=0, unlabelled=1, left_out=(), warnings=())
    assert len(calls) == 5
    assert found.summary() == (
        "5 usable photos: 4 in 2 instance(s) of two or more, 0 alone in their instance, 1 without a label"
    )


def test_two_photos_of_one_id_are_refused(walls: list[Photo]) -> None:
    with pytest.raises(DataError, match=r"2 photo id\(s\) occur more than once: 1\.png, 5\.png\."):
        check([*walls, walls[0], walls[4]])


def test_missing_photos_are_refused_and_the_first_few_named(walls: list[Photo], tmp_path: Path) -> None:
    absent = [photo(f"absent {number}.jpg", "tower", tmp_path) for number in range(5)]
    with pytest.raises(DataError, match=r"5 photo\(s\) are missing: absent 0\.jpg, .* absent 2\.jpg, and 2 more\."):
        check(walls + absent)


def test_unreadable_photos_are_left_out(walls: list[Photo], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "folder.jpg").mkdir()
    found = check([photo("text.jpg", "tower", tmp_path), *walls, photo("folder.jpg", "", tmp_path)])
    assert found.usable == tuple(walls)
    assert found.warnings == (
        "2 photo(s) cannot be read and are left out: text.jpg, folder.jpg. "
        f"{tmp_path}/text.jpg is no photo. Expected a whole JPEG, PNG or WebP photo.",
    )
    assert [sentence.split(" is ")[0] for sentence in found.left_out[:1]] == [f"{tmp_path}/text.jpg"]
    assert len(found.left_out) == 2


def test_a_truncated_jpeg_is_found_by_the_thorough_check_only(walls: list[Photo], tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    half = photo("half.jpg", "tower", tmp_path)
    assert check([*walls, half]).usable == (*walls, half)
    found = check([*walls, half], thorough=True)
    assert found.usable == tuple(walls)
    assert "half.jpg is truncated" in found.warnings[0]


def test_photos_with_a_short_side_are_left_out(walls: list[Photo], tmp_path: Path) -> None:
    save(tmp_path / "thin.png", size=(200, 31))
    save(tmp_path / "just.png", size=(32, 200))
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
    other = Photo(save(tmp_path / "6.png", 6), "tower", "train", "", "elsewhere", "6.png")
    (warning,) = check([*walls, other]).warnings
    assert "count as one instance: tower (in elsewhere, walls)" in warning


def test_photos_alone_in_their_instance_are_counted_where_labels_are_needed(walls: list[Photo], tmp_path: Path) -> None:
    alone = photo(save(tmp_path / "6.png", 6).name, "arch", tmp_path)
    found = check([*walls, alone])
    assert (found.singles, found.instances) == (1, 2)
    assert found.warnings == ("1 photo(s) are alone in their instance, and can be negatives only: 6.png.",)
    assert check([*walls, alone], labelled=False).warnings == ()


def test_too_few_photos_to_learn_from_are_refused(walls: list[Photo], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 photos show 2 instances, none of them twice"):
        check(walls[1:3] + walls[4:])
    assert check(walls[1:3] + walls[4:], labelled=False).instances == 0
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(DataError, match=r"None of 1 photos can be used\. The first: .*text\.jpg is no photo"):
        check([photo("text.jpg", "", tmp_path)], labelled=False)
    with pytest.raises(DataError, match="None of 0 photos"):
        check([], labelled=False)


# The command


def run(*arguments: object):
    app = typer.Typer()
    app.command()(command.check_photos)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_what_it_found(walls: list[Photo], tmp_path: Path) -> None:
    whole = save(tmp_path / "pool" / "half.jpg").read_bytes()
    (tmp_path / "pool" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    lines = [f"{photo.id},{photo.instance_id},train,,walls\n" for photo in walls]
    (tmp_path / "m.csv").write_text(HEADER + "".join(lines) + "absent.jpg,,gallery,,walls\n")
    save(tmp_path / "town" / "arch" / "1.png", 9)
    arguments = ("--manifest", tmp_path / "m.csv", "--photos", tmp_path / "pool", "--folders", tmp_path / "town")
    quick, thorough = run(*arguments), run(*arguments, "--thorough")
    assert (quick.exit_code, thorough.exit_code) == (0, 0)
    assert quick.stdout == (
        "7 usable photos: 4 in 2 instance(s) of two or more, 1 alone in their instance, 2 without a label\n"
    )
    assert "warning: 1 photo(s) are alone in their instance" in quick.stderr
    assert "half.jpg" not in quick.stderr
    assert "warning: 1 photo(s) cannot be read and are left out: pool/half.jpg" in thorough.stderr


def test_the_command_refuses_what_cannot_be_learned_from(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(HEADER + "absent.jpg,,train,,walls\n")
    result = run("--manifest", tmp_path / "m.csv")
    assert result.exit_code == 1
    assert isinstance(result.exception, DataError)
    assert "1 photo(s) are missing: absent.jpg" in str(result.exception)
