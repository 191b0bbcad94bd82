"""The photos of a folder: which files are taken, and where every other one is counted."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from askew_client.cli.taken import Intake
from askew_client.errors import AskewError
from askew_server.ingest import folder_walk as walking
from askew_server.ingest import photo_folder as finding
from askew_server.ingest.folder_walk import SYSTEM_FOLDERS
from askew_server.ingest.photo_folder import FoundPhotos, find_photos
from tests.support.paths import DEMO

JPEG = min((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size).read_bytes()


def _touch(folder: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _names(intake: Intake, kind: str) -> dict[str, list[str]]:
    """The first names of each reason of a kind."""
    return {reason: list(each["first"]) for reason, each in intake.as_json()[kind.replace(" ", "_")]["reasons"].items()}


def _ids(found: FoundPhotos) -> list[str]:
    return [photo.id for photo in found.photos]


def test_photos_are_found_by_suffix_in_all_folders_but_hidden_ones(tmp_path: Path) -> None:
    _touch(tmp_path, "b.JPG", "a.jpeg", "deep/er/c.webp", "d.JFIF", "e.jpe", ".hidden/d.jpg", ".e.png", "notes.txt")
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["a.jpeg", "b.JPG", "d.JFIF", "deep/er/c.webp", "e.jpe"]
    assert _names(found.files, "left out") == {
        walking.HIDDEN: [".e.png", ".hidden"],
        "of other kinds (.txt 1)": ["notes.txt"],
    }
    assert found.files.exit_code == 0


def test_files_without_a_suffix_are_taken_if_they_begin_as_photos(tmp_path: Path) -> None:
    _touch(tmp_path, "IMG_0001", "St. Mary", "2021.05", "photo.")
    _touch(tmp_path, "README", "empty", "St. Paul", content=b"")
    _touch(tmp_path, "iphone", content=b"\0\0\0\x24ftypheic\0\0\0\0mif1heic")
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["2021.05", "IMG_0001", "St. Mary", "iphone", "photo."]
    assert _names(found.files, "left out") == {"of other kinds (no suffix 3)": ["README", "St. Paul", "empty"]}


def test_files_of_other_kinds_are_counted_by_suffix(tmp_path: Path) -> None:
    _touch(tmp_path, "a.gif", "b.GIF", "c.bmp", "d.tar.gz", "photo.jpg")
    found = find_photos(tmp_path, None)
    (reason,) = _names(found.files, "left out")
    assert reason == "of other kinds (.gif 2, .bmp 1, .gz 1)"
    assert found.walk.other_kinds == {".gif": 2, ".bmp": 1, ".gz": 1}


@pytest.mark.parametrize(
    "name",
    [
        *sorted(SYSTEM_FOLDERS),
        "@eaDir",
        "#Recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "__MACOSX",
        "RECYCLER",
    ],
)
def test_folders_that_systems_make_are_left_out_with_the_number_of_their_files(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "sea.jpg", f"album/{name}/sea.jpg/SYNOPHOTO_THUMB_M.jpg", f"album/{name}/x.jpg")
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["sea.jpg"]
    assert found.files.as_json()["left_out"]["reasons"] == {
        walking.IN_SYSTEM_FOLDERS: {"count": 2, "first": {f"album/{name}": ""}}
    }


@pytest.mark.parametrize("name", ["Thumbs.db", "ehthumbs.db", "desktop.ini", "SYNOPHOTO_THUMB_XL.jpg"])
def test_files_that_systems_make_are_left_out(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "sea.jpg", name)
    found = find_photos(tmp_path, None)
    assert (_ids(found), _names(found.files, "left out")) == (["sea.jpg"], {walking.SYSTEM_FILE: [name]})


@pytest.mark.parametrize(
    "name", [".Trash-1000/a.jpg", ".thumbnails/a.jpg", ".@__thumb/a.jpg", "._sea.jpg", ".DS_Store"]
)
def test_hidden_files_are_left_out(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "sea.jpg", name)
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["sea.jpg"]
    assert _names(found.files, "left out") == {walking.HIDDEN: [name.partition("/")[0]]}


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as each:
        # The path of a socket must be short.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            each.bind(path.name)
        finally:
            os.chdir(before)


def _not_utf8(path: Path) -> None:
    Path(os.fsdecode(os.fsencode(path.parent) + b"/M\xfcnchen.jpg")).write_bytes(JPEG)


SKIPPED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a broken link": ("broken.jpg", _link("nowhere.jpg"), walking.BROKEN_LINK),
    "a link to itself": ("loop.jpg", _link("loop.jpg"), walking.BROKEN_LINK),
    "a link to a device": ("zero.jpg", _link("/dev/zero"), walking.NO_FILE),
    "a pipe": ("pipe.jpg", os.mkfifo, walking.NO_FILE),
    "a socket": ("socket.jpg", _socket, walking.NO_FILE),
    "a broken link without a suffix": ("broken", _link("nowhere"), walking.BROKEN_LINK),
    "a name that is not UTF-8": ("M\udcfcnchen.jpg", _not_utf8, finding.NAME_NOT_UTF8),
    "a name with a line end": ("two\nlines.jpg", lambda path: path.write_bytes(JPEG), finding.NO_ID),
    "a path that is too long": (
        "/".join(["x" * 200] * 3) + "/a.jpg",
        lambda path: _touch(path.parent, path.name),
        finding.NO_ID,
    ),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_what_cannot_be_taken_is_named_and_the_rest_goes_on(tmp_path: Path, case: str) -> None:
    name, make, reason = SKIPPED[case]
    _touch(tmp_path, "a.jpg", "z.jpg")
    make(tmp_path / name)
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["a.jpg", "z.jpg"]
    assert found.files.exit_code == 3
    assert list(found.files.reasons["skipped"]) == [reason]
    assert list(found.files.reasons["skipped"][reason].first) == [name]
    "\n".join(found.files.lines()).encode()


@pytest.mark.parametrize("name", ["pipe", "socket"])
def test_a_pipe_without_a_suffix_is_not_opened(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "a.jpg")
    {"pipe": os.mkfifo, "socket": _socket}[name](tmp_path / name)
    found = find_photos(tmp_path, None)
    assert _names(found.files, "left out") == {walking.NO_FILE: [name]}
    assert found.files.exit_code == 0


def test_a_folder_with_the_name_of_a_photo_is_named_and_looked_into(tmp_path: Path) -> None:
    _touch(tmp_path, "x.jpg/inside.jpg", "y.jpg/notes.txt")
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["x.jpg/inside.jpg"]
    assert _names(found.files, "left out")[walking.NAMED_AS_PHOTO] == ["x.jpg", "y.jpg"]


def test_links_to_photos_are_taken_and_links_to_folders_named(tmp_path: Path) -> None:
    _touch(tmp_path, "photos/a.jpg", "other/b.jpg")
    (tmp_path / "photos" / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "photos" / "folder").symlink_to("../other")
    (tmp_path / "photos" / "round").symlink_to(".")
    found = find_photos(tmp_path / "photos", None)
    assert _ids(found) == ["a.jpg", "link.jpg"]
    assert _names(found.files, "left out") == {walking.LINKED_FOLDER: ["folder", "round"]}


def _refuse(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Make a folder unreadable, for root too."""
    real = os.scandir

    @contextmanager
    def scandir(path: Any) -> Iterator[Any]:
        if Path(path) == refused:
            raise PermissionError(13, "Permission denied", str(path))
        with real(path) as entries:
            yield entries

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "a.jpg", "locked/b.jpg", "z/c.jpg")
    _refuse(monkeypatch, tmp_path / "locked")
    found = find_photos(tmp_path, None)
    assert _ids(found) == ["a.jpg", "z/c.jpg"]
    assert _names(found.files, "skipped") == {walking.UNREADABLE_FOLDER: ["locked"]}
    assert not found.is_complete


def test_folders_without_photos_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    _touch(tmp_path, "other/notes.txt", "file")
    for name, words in [("empty", "there are none"), ("other", "there are none"), ("missing", "is missing")]:
        with pytest.raises(AskewError, match=words):
            find_photos(tmp_path / name, None)
    with pytest.raises(AskewError, match="not a folder"):
        find_photos(tmp_path / "file", None)
    _refuse(monkeypatch, tmp_path / "empty")
    with pytest.raises(AskewError, match="cannot be read: Permission denied"):
        find_photos(tmp_path / "empty", None)


ODD_NAMES = [
    "a.jpg",
    "b.PNG",
    "c",
    "d.txt",
    "Thumbs.db",
    ".e.jpg",
    "._f.jpg",
    "g h.webp",
    "ü.jpg",
    "u\u0308.jpg",
    "x\n.jpg",
]
ODD_FOLDERS = ["", "one", "two/three", "@eaDir/x.jpg", ".hidden", "#recycle", "album.jpg", "$RECYCLE.BIN"]


@pytest.mark.parametrize("seed", range(40))
def test_every_file_is_in_exactly_one_count(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "photos"
    _touch(folder, "always.jpg")
    for _ in range(chance.randrange(60)):
        path = folder / chance.choice(ODD_FOLDERS) / chance.choice(ODD_NAMES)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or path.is_symlink():
            continue
        make = chance.choice([None, None, None, os.mkfifo, _link("nowhere"), _link("always.jpg"), _socket])
        if make is None:
            path.write_bytes(chance.choice([JPEG, b""]))
        else:
            make(path)
    found = find_photos(folder, None)
    files = {str(Path(parent, name)) for parent, _, names in os.walk(folder) for name in names}
    named_as_photo = found.files.reasons["left out"].get(walking.NAMED_AS_PHOTO)
    left_out = found.files.count("left out") - (named_as_photo.count if named_as_photo else 0)
    assert len(found.photos) + found.files.count("skipped") + left_out == len(files)
    assert {str(photo.path) for photo in found.photos} <= files
    shutil.rmtree(folder)
