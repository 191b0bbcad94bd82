"""The licences of sets of photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.data.licences import PhotoSource, merged_sources, read_licences, sources_of
from askew_training.data.photo_sets import photos_in
from askew_training.errors import DataError
from tests.training.photo_files import save_photo


def test_licences_are_a_toml_table(tmp_path: Path) -> None:
    path = tmp_path / "licences.toml"
    path.write_text('[licences]\nnorth = "CC0"\n')
    assert read_licences(path) == {"north": "CC0"}
    path.write_text("[other]\n")
    with pytest.raises(DataError, match=r"no table \[licences\]"):
        read_licences(path)
    path.write_text("not toml")
    with pytest.raises(DataError, match="is not a TOML file"):
        read_licences(path)
    with pytest.raises(DataError, match=r"Expected a list of licences, but .* cannot be read"):
        read_licences(tmp_path / "missing.toml")


def test_every_set_needs_a_licence(tmp_path: Path) -> None:
    save_photo(tmp_path / "outer.png")
    save_photo(tmp_path / "inner" / "a.JPG")
    photos = photos_in(tmp_path)
    assert {photo.set_name for photo in photos} == {tmp_path.name, "inner"}
    with pytest.raises(DataError, match="No licence is stated for inner"):
        sources_of(photos, {tmp_path.name: "CC0"})
    sources = sources_of(photos, {tmp_path.name: "CC0", "inner": "none stated"})
    assert [(source.name, source.photos) for source in sources if source.name == "inner"] == [("inner", 1)]


def test_sources_are_merged_by_name_and_the_largest_number_counts() -> None:
    first = [PhotoSource(name="b", licence="CC0", photos=3), PhotoSource(name="a", licence="CC0", photos=2)]
    second = [PhotoSource(name="b", licence="CC0", photos=5)]
    assert [(source.name, source.photos) for source in merged_sources(first, second)] == [("a", 2), ("b", 5)]
