"""Lists of photos, from manifests and folders, and what is held out of them."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.cli.taken import Intake
from askew_training.data.photo_sets import (
    hold_out,
    labelled_folder,
    photos_in,
    read_manifest,
    training_photos,
)
from askew_training.errors import DataError
from tests.support.training_helpers import MANIFEST_HEADER
from tests.training.photo_files import photo, save_photo

INSTANCES = st.lists(st.text(string.ascii_letters, max_size=3), max_size=30)


def test_photos_of_a_manifest_have_its_paths_as_ids(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(MANIFEST_HEADER + "a/1.jpg,tower,train,,walls\n./b.jpg,,gallery,objects,walls\n")
    photos = read_manifest(tmp_path / "m.csv")
    assert [photo.id for photo in photos] == ["a/1.jpg", "b.jpg"]
    assert photos[0].path == tmp_path / "a/1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,role\n", "no column 'instance_id'"),
        (MANIFEST_HEADER + "a.png,x,judge,walls,north\n", "line 2: expected the role"),
        (MANIFEST_HEADER + "a.png,x\n", "line 2: expected 5 values"),
        ("", "no column"),
    ],
)
def test_inconsistent_manifests_are_refused(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_files_that_are_not_manifests_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="is not a CSV file in UTF-8"):
        read_manifest(tmp_path / "binary.csv")


def test_ids_of_unlabelled_photos_begin_with_their_folder(tmp_path: Path) -> None:
    for name in ("z.png", "inner/a.JPG", "inner/deep/b.webp"):
        save_photo(tmp_path / "pool" / name)
    (tmp_path / "pool" / "notes.txt").write_text("no photo")
    photos = photos_in(tmp_path / "pool")
    assert [photo.id for photo in photos] == ["pool/inner/a.JPG", "pool/inner/deep/b.webp", "pool/z.png"]
    assert {photo.instance_id for photo in photos} == {""}


def test_each_folder_of_a_folder_is_an_instance(tmp_path: Path) -> None:
    for name in ("tower/1.png", "tower/winter/2.png", "bridge/1.png"):
        save_photo(tmp_path / "town" / name)
    photos = labelled_folder(tmp_path / "town")
    assert [(photo.id, photo.instance_id) for photo in photos] == [
        ("town/bridge/1.png", "bridge"),
        ("town/tower/1.png", "tower"),
        ("town/tower/winter/2.png", "tower"),
    ]
    assert {(photo.role, photo.set_name) for photo in photos} == {("train", "town")}


def test_a_loose_photo_in_a_folder_of_folders_is_refused(tmp_path: Path) -> None:
    save_photo(tmp_path / "tower" / "1.png")
    save_photo(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"itself holds 1 photo\(s\), such as loose\.png"):
        labelled_folder(tmp_path)


@pytest.mark.parametrize("read", [photos_in, labelled_folder])
def test_a_folder_without_photos_is_refused(tmp_path: Path, read) -> None:
    with pytest.raises(DataError, match="holds no photo"):
        read(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read(tmp_path / "absent")


def test_photos_of_a_folder_that_the_manifest_lists_are_taken_as_it_says(tmp_path: Path) -> None:
    """With the folder of a whole data set as a pool, its queries would be learned from."""
    for name in ("train", "query", "other"):
        save_photo(tmp_path / "walls" / "more" / f"{name}.png", 1)
    (tmp_path / "m.csv").write_text(
        MANIFEST_HEADER + "walls/more/train.png,a,train,,set\nwalls/more/../more/query.png,a,query,b,set\n"
    )
    intake = Intake()
    photos = training_photos(tmp_path / "m.csv", [tmp_path / "walls"], intake=intake)
    assert [(photo.path.name, photo.instance_id) for photo in photos] == [("train.png", "a"), ("other.png", "")]
    assert intake.count("left out") == 2 and intake.exit_code == 0
    (tmp_path / "walls" / "more" / "other.png").unlink()
    assert len(training_photos(tmp_path / "m.csv", [tmp_path / "walls"])) == 1


def test_training_photos_come_from_a_manifest_folders_and_folders_of_folders(tmp_path: Path) -> None:
    save_photo(tmp_path / "pool" / "1.png")
    save_photo(tmp_path / "town" / "tower" / "1.png")
    (tmp_path / "m.csv").write_text(MANIFEST_HEADER + "a.jpg,tower,train,,walls\nb.jpg,,gallery,objects,walls\n")
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
def test_an_instance_stays_on_its_side_when_others_are_added(instances: list[str], more: list[str], seed: int) -> None:
    _, held = hold_out([photo("1.jpg", instance) for instance in instances], 0.5, seed)
    _, held_of_more = hold_out([photo("1.jpg", instance) for instance in [*more, *instances]], 0.5, seed)
    held_ids = {photo.instance_id for photo in held_of_more} & set(instances)
    assert held_ids == {photo.instance_id for photo in held}


def test_about_the_stated_share_is_held_out_and_another_seed_holds_out_other_instances() -> None:
    photos = [photo(f"{number}.jpg", f"instance {number}") for number in range(4000)]
    held = {photo.id for photo in hold_out(photos, 0.25, seed=1)[1]}
    others = {photo.id for photo in hold_out(photos, 0.25, seed=2)[1]}
    assert len(held) / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(held & others) / 4000 == pytest.approx(0.25**2, abs=0.03)
    assert hold_out(photos, 0, seed=1)[1] == []


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="from 0 to below 1"):
        hold_out([], share, seed=0)
