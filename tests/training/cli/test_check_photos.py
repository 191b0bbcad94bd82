"""`askew check-photos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.cli.check_photos import check_photos
from askew_training.data.photo_sets import (
    Photo,
)
from askew_training.errors import DataError
from tests.support.training_helpers import MANIFEST_HEADER, run_command
from tests.training.photo_files import save_photo, sound_photos


@pytest.fixture
def walls(tmp_path: Path) -> list[Photo]:
    return sound_photos(tmp_path)


def test_the_command_prints_what_it_found(walls: list[Photo], tmp_path: Path) -> None:
    whole = save_photo(tmp_path / "pool" / "half.jpg").read_bytes()
    (tmp_path / "pool" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    lines = [f"{photo.id},{photo.instance_id},train,,walls\n" for photo in walls]
    (tmp_path / "m.csv").write_text(MANIFEST_HEADER + "".join(lines) + "absent.jpg,,gallery,,walls\n")
    save_photo(tmp_path / "town" / "arch" / "1.png", 9)
    arguments = ("--manifest", tmp_path / "m.csv", "--photos", tmp_path / "pool", "--folders", tmp_path / "town")
    quick, thorough = run_command(check_photos, *arguments), run_command(check_photos, *arguments, "--thorough")
    assert (quick.exit_code, thorough.exit_code) == (0, 3)
    assert quick.stdout == (
        "7 usable photos: 4 in 2 instance(s) of two or more, 1 alone in their instance, 2 without a label\n"
    )
    assert "warning: 1 photo(s) are alone in their instance" in quick.stderr
    assert "half.jpg" not in quick.stderr
    assert "warning: 1 photo(s) cannot be read and are left out: pool/half.jpg" in thorough.stderr


def test_the_command_refuses_photos_that_cannot_be_used_for_training(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(MANIFEST_HEADER + "absent.jpg,,train,,walls\n")
    with pytest.raises(DataError, match=r"None of 1 photos can be used. The first: .*absent\.jpg is missing"):
        run_command(check_photos, "--manifest", tmp_path / "m.csv")
