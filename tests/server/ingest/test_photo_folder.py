"""The photos of a folder, and what a CSV says about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from askew_client.errors import AskewError
from askew_server.ingest.photo_folder import find_photos


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_photos_are_found_by_suffix_in_all_folders_but_hidden_ones(tmp_path: Path) -> None:
    _touch(tmp_path, "b.JPG", "a.jpeg", "deep/er/c.webp", ".hidden/d.jpg", ".e.png", "notes.txt")
    assert [photo.id for photo in find_photos(tmp_path, None)] == ["a.jpeg", "b.JPG", "deep/er/c.webp"]


def test_a_csv_gives_ids_and_payloads(tmp_path: Path) -> None:
    _touch(tmp_path, "photos/a.jpg", "photos/b.jpg")
    (tmp_path / "known.csv").write_text("file,id,title,note\nphotos/a.jpg,first,Ärger,\n")
    photos = find_photos(tmp_path / "photos", tmp_path / "known.csv")
    assert [(photo.id, photo.payload) for photo in photos] == [("first", {"title": "Ärger"}), ("b.jpg", {})]


@pytest.mark.parametrize(
    ("text", "word"), [("name\na\n", "column `file`"), ("file,id\na.jpg,same\nb.jpg,same\n", "same id 'same'")]
)
def test_csvs_that_are_refused(tmp_path: Path, text: str, word: str) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "known.csv").write_text(text)
    with pytest.raises(AskewError, match=word):
        find_photos(tmp_path, tmp_path / "known.csv")


def test_a_folder_that_cannot_be_read_stops_before_anything_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "a.jpg")

    def walk(folder: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(PermissionError(13, "Permission denied", str(folder / "locked")))
        yield str(folder), [], []

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(AskewError, match=r"locked cannot be read: Permission denied"):
        find_photos(tmp_path, None)
