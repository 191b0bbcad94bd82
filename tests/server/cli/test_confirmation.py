"""What nothing can bring back is deleted after a question, or with --yes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import call_askew

GONE_FOR_EVER = (
    "gallery delete Old",
    "snapshot delete 20260101T000000Z --gallery Old",
    "key revoke nobody",
    "probes remove a.jpg --gallery Old",
    "items delete a --gallery Old",
    'items delete --filter {"field":"n","exists":true} --gallery Old',
)


@pytest.fixture
def old_gallery(tmp_path: Path) -> Path:
    """A folder that no gallery can be opened from, which `askew gallery delete` deletes all the same."""
    folder = tmp_path / "galleries" / "Old"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.mark.parametrize("command", GONE_FOR_EVER)
def test_a_script_must_say_yes(command: str, tmp_path: Path, teacher_file: Path) -> None:
    assert call_askew("gallery", "create", "old", "--encoder", teacher_file, "--data", tmp_path).returncode == 0
    done = call_askew(*command.replace("Old", "old").split(), "--data", tmp_path)
    assert done.returncode == 1
    assert "Expected --yes to delete" in done.stderr
    assert (tmp_path / "galleries" / "old" / "gallery.db").exists()


@pytest.mark.parametrize(("answer", "code", "stays"), [("n\n", 1, True), ("\n", 1, True), ("y\n", 0, False)])
def test_on_a_terminal_the_command_asks(answer: str, code: int, stays: bool, old_gallery: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "askew_client.cli.main", "gallery", "delete", "Old", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(theirs)
    os.write(ours, answer.encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code
    assert b"Delete gallery 'Old' with its items" in err
    assert (b"Nothing was deleted" in err) == stays
    assert (out == b"Gallery 'Old' is deleted.\n") != stays
    assert old_gallery.exists() == stays
