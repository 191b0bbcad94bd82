"""`askew cache`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from askew_training.cli.cache import cache
from tests.support.training_helpers import SPACE, run_command, unit_vectors
from tests.training.photo_files import walls_with_a_damaged_photo


def test_the_command_describes_photos_and_imports_vectors(teacher: Path, tmp_path: Path) -> None:
    folder = walls_with_a_damaged_photo(tmp_path)
    first = run_command(cache, teacher, tmp_path / "out", "--photos", folder, "--dtype", "f32")
    assert first.exit_code == 3
    assert "6 photos taken, 1 skipped" in first.stderr
    assert "6 vectors of 16 f32 values, space sp1-" in first.stdout
    assert "walls/3.png" in first.stderr.replace("\n", "")
    file, ids = tmp_path / "features.npy", tmp_path / "ids.txt"
    np.save(file, unit_vectors(3, 5, 0).T)
    ids.write_text("a\nb\nc\n")
    second = run_command(cache, file, tmp_path / "in", "--ids", ids, "--space", SPACE)
    assert "3 vectors of 5 f16 values" in second.stdout
    assert run_command(cache, file, tmp_path / "in2").exit_code == 2
    assert run_command(cache, teacher, tmp_path / "out2", "--photos", folder, "--space", SPACE).exit_code == 2
