"""Files are replaced completely or not at all."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from askew_client.files import PartialFile, write_atomically


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_whose_check_fails_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def refuse(written: Path) -> None:
        assert written.read_bytes() == b"after"
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"), PartialFile(path) as file:
        file.stream.write(b"after")
        file.commit(refuse)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_not_committed_is_removed(tmp_path: Path) -> None:
    with PartialFile(tmp_path / "file") as file:
        file.stream.write(b"half")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "kind"),
    [("", IsADirectoryError), ("missing/file", FileNotFoundError), ("file/file", NotADirectoryError)],
)
def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path, place: str, kind: type[OSError]) -> None:
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(kind) as raised:
        write_atomically(tmp_path / place, b"after")
    assert raised.value.filename == str(tmp_path / place)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("size", [5_000, 100_000])  # Less, and more, than a stream keeps back until it is closed.
def test_a_disk_that_takes_no_more_is_an_error_about_the_file_and_the_one_before_stays(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            write_atomically(path, bytes(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", b"")
