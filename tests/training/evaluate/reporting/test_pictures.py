"""Finding photos by ids that come from a file, and making small pictures of them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from askew_training.errors import DataError
from askew_training.evaluate.reporting.photo_files import PhotoFiles
from askew_training.evaluate.reporting.placing import compare
from askew_training.evaluate.reporting.thumbnails import LONGEST_SIDE, ThumbnailFolder, Thumbnails, inside_the_page
from askew_training.evaluate.reporting.writing import Choices, Report
from tests.training.evaluate.measurements import measurement
from tests.training.photo_files import save_photo


@pytest.mark.parametrize(
    ("photo_id", "file"),
    [
        ("a/1.jpg", "a/1.jpg"),
        ("a/../a/1.jpg", "a/1.jpg"),
        # Revisited Oxford and Paris: names without a suffix, in the folder jpg.
        ("oxford_000001", "jpg/oxford_000001.jpg"),
        ("../other/2.png", None),
        ("/etc/hostname", None),
        ("../root-secret/3.png", None),
        ("a", None),
        ("", None),
        (".", None),
        ("nul\0.jpg", None),
        ("x" * 5000, None),
    ],
)
def test_an_id_is_looked_for_below_the_named_folders_alone(tmp_path: Path, photo_id: str, file: str | None) -> None:
    root = tmp_path / "root"
    for name in ("a/1.jpg", "jpg/oxford_000001.jpg", "../other/2.png", "../root-secret/3.png"):
        save_photo(root / name)
    found = PhotoFiles([root]).find(photo_id)
    assert found == (root / file if file else None)


def test_a_path_that_leaves_one_folder_for_another_that_is_named_is_followed(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "1.png")
    (tmp_path / "lists").mkdir()
    files = PhotoFiles([tmp_path / "lists", tmp_path / "photos"])
    assert files.find("../photos/1.png") == tmp_path / "photos" / "1.png"


def test_a_thumbnail_is_small_and_made_once(tmp_path: Path, photos: list[Path]) -> None:
    made: list[bytes] = []

    def keep(content: bytes) -> str:
        made.append(content)
        return inside_the_page(content)

    save_photo(tmp_path / "tall.png", 1, (100, 2000))
    thumbnails = Thumbnails(PhotoFiles([photos[0].parent, tmp_path]), keep)
    for _ in range(2):
        small, tall = thumbnails.of(photos[0].name), thumbnails.of("tall.png")
    assert len(made) == 2
    assert max(small.width, small.height) == tall.height == LONGEST_SIDE
    picture = Image.open(io.BytesIO(base64.b64decode((small.address or "").removeprefix("data:image/jpeg;base64,"))))
    assert (picture.format, picture.size) == ("JPEG", (small.width, small.height))


def test_photos_that_are_missing_or_damaged_are_grey_tiles_with_their_id(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    one = measurement({"arch": [0.5, 0.2], "tower": [0.4]})
    report = Report(compare([one]), [one], Choices(photos=(tmp_path,)))
    written = report.write_html(tmp_path / "page.html", is_embedded=False)
    assert (written.pictures, written.missing) == (0, report.pictures)
    page = (tmp_path / "page.html").read_text()
    assert 'aria-label="Query arch/1.jpg: no photo"' in page
    assert 'aria-label="1st, right: a.jpg: unreadable"' in page
    assert "photos were not found or could not be read: grey tiles." in page
    assert "<img" not in page and not (tmp_path / "page.html.photos").exists()


def test_the_folder_of_pictures_follows_the_page_and_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.jpg", 1)
    one = measurement({"arch": [0.5], "tower": [0.4]})
    page, folder = tmp_path / "my page.html", tmp_path / "my page.html.photos"

    def write() -> None:
        Report(compare([one]), [one], Choices(photos=(tmp_path / "photos",))).write_html(page, is_embedded=False)

    write()
    (first,) = folder.iterdir()
    assert f'src="my%20page.html.photos/{first.name}"' in page.read_text()
    (folder / "notes.txt").write_text("mine")
    save_photo(tmp_path / "photos" / "a.jpg", 2)
    write()
    names = {each.name for each in folder.iterdir()}
    assert len(names) == 2 and "notes.txt" in names and first.name not in names


def test_a_place_that_cannot_be_written_to_is_said_in_a_sentence(tmp_path: Path) -> None:
    one = measurement({"arch": [0.5]})
    report = Report(compare([one]), [one], Choices())
    with pytest.raises(DataError, match=r"missing/page.html cannot be written: No such file or directory"):
        report.write_html(tmp_path / "missing" / "page.html", is_embedded=True)
    (tmp_path / "page.html.photos").write_text("a file where the folder would be")
    with pytest.raises(DataError, match=r"pictures cannot be written"):
        ThumbnailFolder(tmp_path / "page.html").place(b"jpeg")
