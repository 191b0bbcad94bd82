"""Files are replaced completely or not at all."""

from __future__ import annotations

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


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", b"")
